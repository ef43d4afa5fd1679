"""Artefacts in a local folder: content-addressed, complete or absent, never changed.

An artefact is a folder `root/<id>` with its files and `manifest.json`, which lists every file with size and BLAKE3; the
id is the BLAKE3 of the manifest. It is built aside, synced, and renamed into place: a reader sees all of it or nothing,
also after a power cut. What a killed process leaves aside is removed by the next one that publishes.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
from blake3 import blake3

from kaname.errors import CorruptData, InvalidInput, NotFound
from kaname.storage.blobs.manifest import CHUNK, MANIFEST, FileEntry, Manifest, files_of, read_manifest, verify_file

_ASIDE = ".building"
_ID = re.compile(r"[0-9a-f]{64}")


class ArtefactStore:
    """The artefacts under one folder; several processes may use it at once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._aside = root / _ASIDE
        self._aside.mkdir(parents=True, exist_ok=True)

    def publish(self, folder: Path) -> str:
        """Store a copy of the files in `folder` and return the artefact's id; durable on return.

        The same content again gives the same id and changes nothing, except that it counts as new for `unused`.
        Python's `__pycache__` is left out. Raises InvalidInput for an empty folder, a link, or anything not a file.
        """
        found = files_of(folder)
        with self._building() as building:
            manifest = Manifest(files=tuple(_copy(folder, path, building) for path in found))
            raw = msgspec.json.encode(manifest)
            _write(building / MANIFEST, raw)
            _sync_folders(building)
            artefact = blake3(raw).hexdigest()
            self._settle(building, artefact)
        return artefact

    def path(self, artefact: str) -> Path:
        """The folder of an artefact, whose files are only read. Raises NotFound."""
        place = self._place(artefact)
        if not place.is_dir():
            raise NotFound("no such artefact", where=str(self._root), found=artefact)
        return place

    def verify(self, artefact: str) -> None:
        """Read every byte and compare. Raises NotFound, or CorruptData naming the file that differs."""
        place = self.path(artefact)
        try:
            present = set(files_of(place))
        except InvalidInput as error:
            raise CorruptData(f"not what was published: {error.message}", where=error.where) from error
        manifest = read_manifest(place, artefact)
        listed = {entry.path for entry in manifest.files}
        for extra in sorted(present - listed - {MANIFEST}):
            raise CorruptData("a file that the manifest does not list", where=f"{place}/{extra}")
        for entry in manifest.files:
            verify_file(place / entry.path, entry)

    def artefacts(self) -> list[str]:
        """The ids of all artefacts, sorted."""
        return sorted(entry.name for entry in self._root.iterdir() if _ID.fullmatch(entry.name))

    def delete(self, artefact: str) -> None:
        """Remove an artefact; nothing happens when it is not there."""
        place, trash = self._place(artefact), self._aside / secrets.token_hex(8)
        with self._alone():
            if not place.exists():
                return
            place.rename(trash)
            _sync(self._root)
        shutil.rmtree(trash, ignore_errors=True)

    def delete_unused(self, used: set[str], before_ns: int) -> list[str]:
        """Delete the artefacts that are not in `used` and were last published or touched before `before_ns`."""
        deleted = []
        for artefact in self.artefacts():
            with self._alone():
                place = self._place(artefact)
                if artefact in used or not place.exists() or place.stat().st_mtime_ns >= before_ns:
                    continue
                place.rename(self._aside / secrets.token_hex(8))
            deleted.append(artefact)
        self.clean()
        return deleted

    def touch(self, artefact: str) -> None:
        """Count an artefact as just published: a reader may still be at it, so let `delete_unused` wait."""
        with self._alone(), suppress(FileNotFoundError):
            os.utime(self._place(artefact))

    def clean(self) -> None:
        """Remove what processes that died while publishing or deleting have left."""
        with self._alone():
            for left in self._aside.iterdir():
                _remove_if_dead(left)

    def _place(self, artefact: str) -> Path:
        if not _ID.fullmatch(artefact):
            raise InvalidInput("not an artefact id", found=artefact, expected="64 hexadecimal digits")
        return self._root / artefact

    def _settle(self, building: Path, artefact: str) -> None:
        place = self._place(artefact)
        with self._alone():
            if not place.exists():
                building.rename(place)
                _sync(self._root)
            os.utime(place)

    @contextmanager
    def _building(self) -> Iterator[Path]:
        """A folder of our own, locked for as long as we live, so that `clean` can tell it from a dead one's."""
        self.clean()
        building = self._aside / secrets.token_hex(8)
        with self._alone():
            building.mkdir()
            fd = os.open(building, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(fd, fcntl.LOCK_EX)
        try:
            yield building
        finally:
            if building.exists():
                shutil.rmtree(building, ignore_errors=True)
            os.close(fd)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """The store's lock, held for renames only, never while bytes are copied."""
        fd = os.open(self._root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def _remove_if_dead(left: Path) -> None:
    """Remove a folder that was left aside, unless the process that builds in it lives."""
    try:
        fd = os.open(left, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # its owner removed it meanwhile
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(left, ignore_errors=True)
    except BlockingIOError:
        pass
    finally:
        os.close(fd)


def _copy(folder: Path, path: str, building: Path) -> FileEntry:
    if path == MANIFEST:
        raise InvalidInput("the name is taken by the manifest", where=str(folder / path), expected="another name")
    target = building / path
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, size = blake3(), 0
    with (folder / path).open("rb") as source, target.open("wb") as out:
        while chunk := source.read(CHUNK):
            digest.update(chunk)
            out.write(chunk)
            size += len(chunk)
        out.flush()
        _make_durable(out.fileno())
    return FileEntry(path=path, size=size, blake3=digest.hexdigest())


def _write(path: Path, raw: bytes) -> None:
    with path.open("wb") as out:
        out.write(raw)
        out.flush()
        _make_durable(out.fileno())


def _make_durable(fd: int) -> None:
    os.fchmod(fd, 0o444)
    os.fsync(fd)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _sync_folders(building: Path) -> None:
    for base, _, _ in os.walk(building):
        _sync(Path(base))
