"""The embedded cell store: an LMDB database in a folder of this machine, for all processes that open it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kaname.clock import Clock
from kaname.storage.cells.checked import check_table, stamped_anew
from kaname.storage.cells.lmdb import layout
from kaname.storage.cells.lmdb.catalog import Known
from kaname.storage.cells.lmdb.change import Batch, Define, Drop
from kaname.storage.cells.lmdb.folder import Folder
from kaname.storage.cells.lmdb.reader import Reader
from kaname.storage.cells.lmdb.writing import Writing
from kaname.storage.cells.types import Mutation, Table
from kaname.storage.mapped.environment import opened, release

GIB = 1024**3


class LmdbCells(Reader):
    """`CellStore` in `folder`. Batches are atomic, over all tables.

    One process owns writing: the first that writes, and after its end another that does. A write that is not confirmed
    within `write_timeout_s` raises DeadlineExceeded (its owner is frozen, or the disk is); reads never wait for it.
    Raises InvalidInput on a network file system, CorruptData for a newer format, OSError.
    """

    def __init__(self, folder: Path, clock: Clock, *, max_bytes: int = 64 * GIB, write_timeout_s: float = 5.0) -> None:
        """`max_bytes`: how large the database may grow."""
        self._folder = Folder(folder)
        try:
            self._env = opened(folder, layout.FORMAT)
        except BaseException:
            self._folder.close()
            raise
        self._clock = clock
        self._known = Known(self._env, clock)
        self._writing = Writing(self._folder, self._env, clock, max_bytes, write_timeout_s)
        super().__init__(self._env, self._known, clock)

    def write(self, mutations: Sequence[Mutation]) -> None:
        now_us = self._clock.time_ns() // 1000
        ready = stamped_anew(mutations, lambda: self._known.tables, self._known.look, now_us)
        if ready:
            self._writing.make(Batch(ready))

    def define(self, table: Table) -> None:
        check_table(table)
        self._writing.make(Define(table))
        self._known.look()

    def drop(self, name: str) -> None:
        self._writing.make(Drop(name))
        self._known.look()

    def tables(self) -> list[Table]:
        self._known.look()
        return [
            Table(name, {family: column.family for family, column in columns.items()})
            for name, columns in sorted(self._known.tables.items())
        ]

    def close(self) -> None:
        self._writing.close()
        self._folder.close()
        release(self._env)
