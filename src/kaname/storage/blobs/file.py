"""Artefacts in a local folder: content-addressed, complete or absent, never changed.

An artefact is a folder `root/<id>` with its files and `manifest.json`, which lists every file with size and BLAKE3; the
id is the BLAKE3 of the manifest. It is built aside, synced, and renamed into place: a reader sees all of it or nothing,
also after a power cut. What a killed process leaves aside is removed by the next one that publishes.
"""

from __future__ import annotations

import fcntl
import math
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
from blake3 import blake3

from kaname.errors import InvalidInput, NotFound
from kaname.storage.blobs.manifest import ID, MANIFEST, FileEntry, Manifest, check_id, files_of, pieces, verify_folder
from kaname.storage.blobs.types import Held

_ASIDE = ".building"


class ArtefactStore:
    """`Artefacts` under one folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._aside = root / _ASIDE
        self._aside.mkdir(parents=True, exist_ok=True)

    def publish(self, folder: Path) -> str:
        """See `Artefacts.publish`."""
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

    def hold(self, artefact: str) -> Held:
        """See `Artefacts.hold`: the very folder of the artefact."""
        self.verify(artefact)
        return Held(self.path(artefact))

    def verify(self, artefact: str) -> None:
        """Read every byte and compare. Raises NotFound, or CorruptData naming the file that differs."""
        verify_folder(self.path(artefact), artefact)

    def artefacts(self, before_ns: int | None = None) -> list[str]:
        """See `Artefacts.artefacts`."""
        found = (entry for entry in self._root.iterdir() if ID.fullmatch(entry.name))
        return sorted(entry.name for entry in found if before_ns is None or _changed_ns(entry) < before_ns)

    def delete(self, artefact: str, before_ns: int | None = None) -> bool:
        """See `Artefacts.delete`."""
        place, trash = self._place(artefact), self._aside / secrets.token_hex(8)
        with self._alone():
            if not place.exists():
                return True
            if before_ns is not None and _changed_ns(place) >= before_ns:
                return False
            place.rename(trash)
            _sync(self._root)
        shutil.rmtree(trash, ignore_errors=True)
        return True

    def touch(self, artefact: str) -> None:
        """See `Artefacts.touch`."""
        with self._alone(), suppress(FileNotFoundError):
            os.utime(self._place(artefact))

    def clean(self, before_ns: int = 0) -> None:
        """See `Artefacts.clean`; whether a process has died is known here, whatever the time."""
        del before_ns
        with self._alone():
            for left in self._aside.iterdir():
                _remove_if_dead(left)

    def _place(self, artefact: str) -> Path:
        return self._root / check_id(artefact)

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


def _changed_ns(place: Path) -> float:
    """When it was last published or touched; never, where it is gone by now."""
    try:
        return place.stat().st_mtime_ns
    except FileNotFoundError:
        return math.inf


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
    with target.open("wb") as out:
        for chunk in pieces(folder / path):
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
