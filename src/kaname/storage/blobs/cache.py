"""A node's copies of artefacts that lie elsewhere: verified, within a disk budget, filled once for all processes.

`<id>/` holds an entry's files and manifest; it is built aside and renamed into place. When the budget is spent, the
entries that no process uses go, the one that was not asked for the longest time first.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from kaname.errors import CorruptData, Unavailable
from kaname.storage.blobs.manifest import ID, MANIFEST, checked, read_manifest, verify_folder
from kaname.storage.blobs.types import Contents, Held, Source
from kaname.storage.blobs.uses import Uses

LOG = logging.getLogger("kaname.artefacts")
POLL_S = 0.02
_ASIDE, _USES = ".filling", ".uses"


class NodeCache:
    """The cache in `folder`, which all processes of a node share; safe to use from several threads."""

    def __init__(
        self, folder: Path, budget_bytes: int, source: Source, *, patience_s: float = 60.0, fleeting: bool = False
    ) -> None:
        """`patience_s`: how long to wait for another process that fetches the same artefact, before doing it here.
        `fleeting`: the last process that closes it leaves no copy behind."""
        self._folder = folder
        self._budget = budget_bytes
        self._source = source
        self._patience_s = patience_s
        self._sizes: dict[str, int] = {}
        self._uses: Uses | None = None
        self._fleeting = fleeting

    def hold(self, artefact: str) -> Held:
        """The entry, verified, fetched if it is absent or damaged. It stays until it is released.

        Raises what the source does, CorruptData when what it gives is not what was published, and Unavailable when
        there is no room: the budget is too small for what is in use, or the disk is full.
        """
        if (held := self._present(artefact)) is not None:
            return held
        with self._turn(artefact):
            return self._present(artefact) or self._fill(artefact)

    def close(self) -> None:
        """Use no entry any more."""
        if self._uses is None:
            return
        with self._alone() as uses:
            uses.all()  # forgets processes that died
            uses.close()
            self._uses = None
            if self._fleeting and not any((self._folder / _USES).iterdir()):
                shutil.rmtree(self._folder, ignore_errors=True)

    # --- what is there --------------------------------------------------------------------------------------

    def _present(self, artefact: str) -> Held | None:
        """The entry, marked as used, if it is there and whole; a damaged one is taken away."""
        place = self._folder / artefact
        with self._alone() as uses:
            if not place.is_dir():
                return None
            uses.add(artefact)
            os.utime(place)
        try:
            verify_folder(place, artefact)
        except CorruptData as error:
            LOG.warning("fetching an artefact again: %s", error)
            self._discard(artefact)
            return None
        return Held(place, partial(self._release, artefact))

    def _release(self, artefact: str) -> None:
        if self._uses is None:
            return  # closed before it was released
        with self._alone() as uses:
            uses.drop(artefact)

    def _discard(self, artefact: str) -> None:
        with self._alone() as uses:
            uses.drop(artefact)
            trash = self._take_away(artefact)
        shutil.rmtree(trash, ignore_errors=True)

    def _take_away(self, artefact: str) -> Path:
        """Out of place at once; whoever has its files open can go on reading."""
        trash = self._folder / _ASIDE / f"{secrets.token_hex(8)}-0"
        (self._folder / artefact).rename(trash)
        return trash

    # --- filling --------------------------------------------------------------------------------------------

    def _fill(self, artefact: str) -> Held:
        contents = self._source(artefact)
        with self._room(artefact, sum(entry.size for entry in contents.manifest.files)) as building:
            self._write(building, artefact, contents)
            with self._alone() as uses:
                place = self._folder / artefact
                if not place.exists():
                    building.rename(place)
                uses.add(artefact)
        return Held(place, partial(self._release, artefact))

    def _write(self, building: Path, artefact: str, contents: Contents) -> None:
        try:
            for entry in contents.manifest.files:
                target = building / entry.path
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as file:
                    for chunk in checked(contents.read(entry), entry, f"{artefact}/{entry.path}"):
                        file.write(chunk)
            (building / MANIFEST).write_bytes(contents.raw)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            free = shutil.disk_usage(self._folder).free
            raise Unavailable(
                "the disk of the node cache is full",
                where=str(self._folder),
                found=f"{free} bytes free",
                expected="room for artefacts.cache_bytes, or a smaller value of it",
            ) from error

    @contextmanager
    def _room(self, artefact: str, size: int) -> Iterator[Path]:
        """A folder of our own in which `size` bytes are set aside; entries that nobody uses make room for it."""
        building = self._folder / _ASIDE / f"{secrets.token_hex(8)}-{size}"
        with self._alone() as uses:
            trash = self._evicted(uses, artefact, size)
            building.mkdir()
            fd = os.open(building, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(fd, fcntl.LOCK_EX)
        try:
            for gone in trash:
                shutil.rmtree(gone, ignore_errors=True)
            yield building
        finally:
            if building.exists():
                shutil.rmtree(building, ignore_errors=True)
            os.close(fd)

    def _evicted(self, uses: Uses, artefact: str, size: int) -> list[Path]:
        """Take entries away until `size` more bytes are within the budget; none where all would not be enough."""
        entries, used = _by_last_use(self._folder), uses.all()
        over = self._set_aside() + sum(map(self._size, entries)) + size - self._budget
        going = []
        for name in entries:
            if over <= 0:
                break
            if name not in used:
                over -= self._size(name)
                going.append(name)
        if over > 0:
            raise Unavailable(
                "the node cache has no room for the artefact beside what is in use",
                where=artefact,
                found=f"{size} bytes",
                expected=f"artefacts.cache_bytes of {self._budget + over} or more",
            )
        return [self._take_away(name) for name in going]

    def _set_aside(self) -> int:
        """Bytes that others are filling; what dead ones left is removed."""
        taken = 0
        for left in (self._folder / _ASIDE).iterdir():
            if left.is_dir():
                taken += int(left.name.partition("-")[2]) if _alive(left) else 0
        return taken

    def _size(self, name: str) -> int:
        found = self._sizes.get(name)
        if found is None:
            try:
                found = sum(entry.size for entry in read_manifest(self._folder / name, name).files)
            except CorruptData:
                found = sum(path.stat().st_size for path in (self._folder / name).rglob("*") if path.is_file())
            self._sizes[name] = found
        return found

    # --- taking turns ---------------------------------------------------------------------------------------

    @contextmanager
    def _turn(self, artefact: str) -> Iterator[None]:
        """One process at a time fetches an artefact; one that takes too long is not waited for any more."""
        fd = os.open(self._folder / _ASIDE / f"turn.{artefact[:2]}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            until = time.monotonic() + self._patience_s
            while not _locked(fd) and time.monotonic() < until:
                time.sleep(POLL_S)
            yield
        finally:
            os.close(fd)

    @contextmanager
    def _alone(self) -> Iterator[Uses]:
        """The cache's lock, held for renames and notes only, never while bytes are copied."""
        fd = self._lock()
        try:
            if self._uses is None:
                self._uses = Uses(self._folder / _USES)
            yield self._uses
        finally:
            os.close(fd)

    def _lock(self) -> int:
        """The lock's open file, in a folder that is there; it is not when its last user has just removed it."""
        while True:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._fleeting:
                _require_own(self._folder)
            with suppress(FileNotFoundError):
                (self._folder / _ASIDE).mkdir(exist_ok=True)
                fd = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                fcntl.flock(fd, fcntl.LOCK_EX)
                if os.fstat(fd).st_nlink:
                    return fd
                os.close(fd)


def _by_last_use(folder: Path) -> list[str]:
    """The entries, the one that was not used for the longest time first."""
    with os.scandir(folder) as found:
        dated = sorted((each.stat().st_mtime_ns, each.name) for each in found if ID.fullmatch(each.name))
    return [name for _, name in dated]


def _require_own(folder: Path) -> None:
    """Raises Unavailable when somebody else may read a folder whose name anybody can guess."""
    found = folder.stat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise Unavailable("others may read the folder of decrypted copies", where=str(folder), expected="mode 0700")


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _alive(left: Path) -> bool:
    """Whether a process works in a folder aside; that of a dead one is removed."""
    try:
        fd = os.open(left, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        if not _locked(fd):
            return True
        shutil.rmtree(left, ignore_errors=True)
        return False
    finally:
        os.close(fd)
