"""Gives back the space of cells whose time is over and of tables that were dropped, a little at a time."""

from __future__ import annotations

from kaname.storage.cells.lmdb import layout
from kaname.storage.cells.lmdb.catalog import Catalog
from kaname.storage.cells.lmdb.layout import Column
from kaname.storage.cells.prefix import after
from kaname.storage.mapped.environment import Environment, Transaction

KEYS_AT_ONCE = 500
"""Readers of this process wait for less than a millisecond while so many are looked at."""


class Sweep:
    """Goes round and round through all rows; belongs to the thread that writes."""

    def __init__(self, env: Environment, catalog: Catalog, limit_bytes: int) -> None:
        self._env = env
        self._catalog = catalog
        self._limit_bytes = limit_bytes
        self._next = layout.CELLS

    def step(self, now_us: int) -> bool:
        """Clear some of the next rows; False at the end of a round. Raises OSError, CorruptData."""
        with self._env.reading() as txn:
            self._catalog.load(txn)
            changes = self._look(txn, now_us)
        if changes:
            self._env.durably(lambda txn: _make(txn, changes), self._limit_bytes)
        return self._next != layout.CELLS

    def _look(self, txn: Transaction, now_us: int) -> dict[bytes, bytes | None]:
        """The rows to write anew, or to delete."""
        columns = {column.prefix: column for families in self._catalog.tables.values() for column in families.values()}
        changes: dict[bytes, bytes | None] = {}
        cursor = txn.cursor()
        found = cursor.set_range(self._next)
        for _ in range(KEYS_AT_ONCE):
            if not found or cursor.key()[:1] != layout.CELLS:
                self._next = layout.CELLS
                return changes
            key = cursor.key()
            column = columns.get(key[: layout.PREFIX_BYTES])
            if column is not None and not column.ttl_us:
                found = cursor.set_range(after(column.prefix))
                continue
            _sift(changes, key, cursor.value(), column, now_us)
            found = cursor.next()
        self._next = cursor.key() if found else layout.CELLS
        return changes


def _sift(changes: dict[bytes, bytes | None], key: bytes, value: bytes, column: Column | None, now_us: int) -> None:
    if column is None:
        changes[key] = None
        return
    dead_us = column.dead_us(now_us)
    if layout.oldest_of(value) <= dead_us:
        left = [cell for cell in layout.unpack(value) if cell.timestamp_us > dead_us]
        changes[key] = layout.pack(left) if left else None


def _make(txn: Transaction, changes: dict[bytes, bytes | None]) -> None:
    for key, value in changes.items():
        if value is None:
            txn.delete(key)
        else:
            txn.put(key, value)
