"""Artefacts in a local folder: content-addressed, complete or absent, never changed.

An artefact is a folder `root/<id>` with its files and `manifest.json`, which lists every file with size and BLAKE3; the
id is the BLAKE3 of the manifest. Where a key is active, the files are encrypted and named by their numbers in the
manifest, which is encrypted too, and `envelope.kaname` holds the wrapped data key. It is built aside, synced, and
renamed into place: a reader sees all of it or nothing, also after a power cut. What a killed process leaves aside is
removed by the next one that publishes.
"""

from __future__ import annotations

import fcntl
import math
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
from blake3 import blake3

from kaname.errors import NotFound
from kaname.storage.blobs.cache import NodeCache
from kaname.storage.blobs.manifest import (
    ENVELOPE,
    ID,
    MANIFEST,
    FileEntry,
    Manifest,
    Tally,
    check_id,
    parse_manifest,
    pieces,
    present_pieces,
    publishable,
    verify_folder,
)
from kaname.storage.blobs.types import Contents, Held, Source
from kaname.storage.sealing.files import opened, sealed
from kaname.storage.sealing.keys import Envelope, Keyring
from kaname.storage.sealing.segments import read_envelope, write_envelope

_ASIDE = ".building"


class ArtefactStore:
    """`Artefacts` under one folder."""

    name = "artefacts"

    def __init__(
        self, root: Path, keyring: Keyring | None = None, cache: Callable[[Source], NodeCache] | None = None
    ) -> None:
        """`cache` makes the node cache in which encrypted artefacts are read; without one they cannot be held."""
        self._root = root
        self._keyring = keyring or Keyring()
        self._cache = None if cache is None else cache(self.contents)
        self._aside = root / _ASIDE
        self._aside.mkdir(parents=True, exist_ok=True)

    def publish(self, folder: Path) -> str:
        """See `Artefacts.publish`."""
        found = publishable(folder)
        key = self._keyring.data_key()
        with self._building() as building:
            entries = (_copy(folder, path, building, key, str(number)) for number, path in enumerate(found))
            raw = msgspec.json.encode(Manifest(files=tuple(entries)))
            artefact = blake3(raw).hexdigest()
            _write(building / MANIFEST, sealed(key, MANIFEST, [raw]))
            if key is not None:
                _write(building / ENVELOPE, [msgspec.json.encode(self._keyring.wrap(key, artefact))])
            _sync_folders(building)
            self._settle(building, artefact)
        return artefact

    def path(self, artefact: str) -> Path:
        """The folder of an artefact, whose files are only read. Raises NotFound."""
        place = self._place(artefact)
        if not place.is_dir():
            raise NotFound("no such artefact", where=str(self._root), found=artefact)
        return place

    def hold(self, artefact: str) -> Held:
        """See `Artefacts.hold`: the very folder of the artefact, or its decrypted copy in the node cache."""
        place = self.path(artefact)
        if not (place / ENVELOPE).is_file():
            verify_folder(place, artefact)
            return Held(place)
        assert self._cache is not None
        return self._cache.hold(artefact)

    def verify(self, artefact: str) -> None:
        """Read every byte and compare. Raises NotFound, or CorruptData naming the file that differs."""
        verify_folder(self.path(artefact), artefact)

    def contents(self, artefact: str) -> Contents:
        """An encrypted artefact as it lies there."""
        place = self.path(artefact)
        key = self._keyring.unwrap(read_envelope(place / ENVELOPE), artefact)
        where = str(place / MANIFEST)
        raw = b"".join(opened(key, MANIFEST, present_pieces(place / MANIFEST)))
        manifest = parse_manifest(raw, artefact, where)
        numbers = {entry.path: str(number) for number, entry in enumerate(manifest.files)}

        def read(entry: FileEntry) -> Iterator[bytes]:
            number = numbers[entry.path]
            return opened(key, number, present_pieces(place / number))

        return Contents(raw, manifest, read)

    def envelopes(self) -> Iterator[tuple[str, Envelope | None]]:
        """See `sealing.rotation.Enveloped`."""
        for artefact in self.artefacts():
            path = self._root / artefact / ENVELOPE
            yield artefact, read_envelope(path) if path.exists() else None

    def rewrap(self, place: str, keyring: Keyring) -> bool:
        """See `sealing.rotation.Enveloped`."""
        path = self._root / check_id(place) / ENVELOPE
        envelope = keyring.rewrap(read_envelope(path), place)
        if envelope is not None:
            write_envelope(path, envelope)
        return envelope is not None

    def close(self) -> None:
        """See `Artefacts.close`."""
        if self._cache is not None:
            self._cache.close()

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


def _copy(folder: Path, path: str, building: Path, key: bytes | None, number: str) -> FileEntry:
    """Copy a file, encrypted under its number where there is a key."""
    target = building / (path if key is None else number)
    target.parent.mkdir(parents=True, exist_ok=True)
    source = Tally(pieces(folder / path))
    _write(target, sealed(key, number, source))
    return source.entry(path)


def _write(path: Path, chunks: Iterable[bytes]) -> None:
    with path.open("wb") as out:
        out.writelines(chunks)
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
