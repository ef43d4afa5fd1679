"""One LMDB environment per folder and process, shared by its writer and its readers.

LMDB forbids opening a database twice in one process, and changing the size of its map while a transaction of
the process is open. Both rules are kept here: environments are counted, and a gate separates readers from growth.
"""

from __future__ import annotations

import contextlib
import errno
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import lmdb

from kaname.errors import CorruptData

T = TypeVar("T")
MIB = 1024 * 1024
START_BYTES = 16 * MIB
FORMAT_KEY = b"f"
"""Where every kind of store notes the number of its format."""
Transaction = Any
"""An `lmdb.Transaction`; the library carries no types."""


class Format(NamedTuple):
    """How a kind of store writes its database; every later version of the software reads it."""

    noun: str
    """What the store is called in messages."""
    number: int

    def stamp(self, txn: Transaction) -> None:
        """Note in a database that it is written like this."""
        txn.put(FORMAT_KEY, self.number.to_bytes(4, "big"))

    def check(self, txn: Transaction, path: Path) -> None:
        """Raises CorruptData when the database was written by a newer version of this software."""
        found = int.from_bytes(txn.get(FORMAT_KEY, b""), "big")
        if found > self.number:
            raise CorruptData(
                f"the {self.noun} was written by a newer version; upgrade to read it",
                where=str(path),
                found=f"format {found}",
                expected=f"format {self.number} or older",
            )


class Environment:
    """An open database folder. Get one from `opened`, give it back with `release`."""

    def __init__(self, path: Path, form: Format) -> None:
        self.path = path
        self.users = 0
        self._suspect = False
        self._gate = threading.Lock()
        self._env = self._open()
        try:
            with self.reading() as txn:
                form.check(txn, path)
        except BaseException:
            self._env.close()
            raise

    def _open(self) -> Any:
        try:
            return lmdb.open(
                str(self.path), map_size=START_BYTES, max_readers=254, metasync=True, sync=True, readahead=False
            )
        except lmdb.Error as error:
            raise as_os_error(error, self.path) from error

    @contextlib.contextmanager
    def reading(self) -> Iterator[Transaction]:
        """A read transaction for a bounded copy; other readers of this process wait meanwhile."""
        with self._gate:
            txn = self._begin()
            try:
                yield txn
            finally:
                txn.abort()

    def get_all(self, keys: Iterable[bytes]) -> list[bytes | None]:
        """Copies of the values under these keys, all of one moment; half a microsecond each."""
        with self._gate:
            txn = self._begin()
            values: list[bytes | None] = [txn.get(key) for key in keys]
            txn.abort()
        return values

    def _begin(self) -> Transaction:
        try:
            return self._env.begin()
        except lmdb.MapResizedError:  # another process let the map grow: take its size over
            self._env.set_mapsize(0)
            return self._env.begin()

    def durably(self, work: Callable[[Transaction], T], limit: int) -> T:
        """Run `work` in one durable transaction, letting the map grow up to `limit` bytes; it may run several times.

        Raises OSError (ENOSPC: no room, EIO: anything else); nothing was written then.
        """
        try:
            if self._suspect:
                self.reopen()
                self._suspect = False
            while True:
                try:
                    with self.writing() as txn:
                        done = work(txn)
                    return done  # noqa: RET504  (only what was committed is done)
                except lmdb.MapFullError:
                    if not self.grow(limit):
                        raise
        except lmdb.Error as error:
            self._suspect = True
            raise as_os_error(error, self.path) from error
        except OSError as error:
            self._suspect = True
            raise OSError(error.errno or errno.EIO, str(error), str(self.path)) from error

    @contextlib.contextmanager
    def writing(self) -> Iterator[Transaction]:
        """A write transaction, committed durably at the end; raises what the library raises."""
        try:
            txn = self._env.begin(write=True)
        except lmdb.MapResizedError:
            with self._gate:
                self._env.set_mapsize(0)
            txn = self._env.begin(write=True)
        with txn:
            yield txn

    def grow(self, limit: int) -> bool:
        """Double the map up to `limit` bytes; False when it is that large already."""
        size: int = self._env.info()["map_size"]
        if size >= limit:
            return False
        with self._gate:
            self._env.set_mapsize(min(size * 2, limit))
        return True

    def reopen(self) -> None:
        """Close and open again: after a failed write the library may refuse all further ones. Raises OSError."""
        with self._gate:
            self._env.close()
            self._env = self._open()

    def clear_dead_readers(self) -> None:
        """Free the places of readers that died inside a transaction, so that space can be reused."""
        self._env.reader_check()

    def close(self) -> None:
        """Only for `release`."""
        with self._gate:
            self._env.close()


_open_environments: dict[Path, Environment] = {}
_registry = threading.Lock()


def opened(path: Path, form: Format) -> Environment:
    """The process's environment for `path`, opened if need be. Raises OSError, CorruptData."""
    path = path.resolve()
    with _registry:
        found = _open_environments.get(path)
        if found is None:
            found = _open_environments[path] = Environment(path, form)
        found.users += 1
        return found


def release(environment: Environment) -> None:
    """Give an environment back; the last user closes it."""
    with _registry:
        environment.users -= 1
        if environment.users == 0:
            del _open_environments[environment.path]
            environment.close()


def as_os_error(error: lmdb.Error, path: Path) -> OSError:
    """The library's error as an OSError whose `errno` says ENOSPC when there is no room."""
    full = isinstance(error, lmdb.MapFullError | lmdb.DiskError) or "No space left" in str(error)
    return OSError(errno.ENOSPC if full else errno.EIO, str(error), str(path))
