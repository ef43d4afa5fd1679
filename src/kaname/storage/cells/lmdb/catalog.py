"""Which tables a database has, as one process knows it."""

from __future__ import annotations

import os

import msgspec

from kaname.clock import Clock
from kaname.storage.cells.checked import extended, no_table
from kaname.storage.cells.lmdb import layout
from kaname.storage.cells.lmdb.layout import Column
from kaname.storage.cells.types import Family, Table
from kaname.storage.mapped.environment import Environment, Transaction

FRESH_NS = 1_000_000_000

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, tuple[int, Family]]).decode


class Catalog:
    """The tables by name, of each the families by name; looked up anew when another process may have changed them."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[str, Column]] = {}
        self._generation: bytes | None = None

    def load(self, txn: Transaction) -> None:
        """Take over what the database says, if it is not known already."""
        generation = txn.get(layout.GENERATION)
        if generation == self._generation:
            return
        self.tables = {name: _columns(raw) for name, raw in _records(txn)}
        self._generation = generation

    def define(self, txn: Transaction, table: Table) -> None:
        """Write a table down."""
        known = self.tables.get(table.name, {})
        number = int.from_bytes(txn.get(layout.NEXT_NUMBER, b""), "big")
        record: dict[str, tuple[int, Family]] = {}
        for name, family in extended({name: column.family for name, column in known.items()}, table).items():
            if name in known:
                record[name] = layout.number_of(known[name]), family
            else:
                record[name] = number, family
                number += 1
        txn.put(layout.NEXT_NUMBER, number.to_bytes(4, "big"))
        txn.put(layout.TABLE + table.name.encode(), _encode(record))
        self._changed(txn)

    def drop(self, txn: Transaction, name: str) -> None:
        """Forget a table; its rows are nobody's from now on."""
        if txn.delete(layout.TABLE + name.encode()):
            self._changed(txn)

    def _changed(self, txn: Transaction) -> None:
        txn.put(layout.GENERATION, os.urandom(16))
        self.load(txn)


class Known(Catalog):
    """A catalogue for readers, at most a second old."""

    def __init__(self, env: Environment, clock: Clock) -> None:
        super().__init__()
        self._env = env
        self._monotonic_ns = clock.monotonic_ns
        self._looked_ns = 0
        self.look()

    def look(self) -> None:
        """Look into the database now."""
        self._looked_ns = self._monotonic_ns()
        with self._env.reading() as txn:
            self.load(txn)

    def families(self, table: str) -> dict[str, Column]:
        """The families of a table; raises NotFound."""
        if self._monotonic_ns() - self._looked_ns > FRESH_NS:
            self.look()
        found = self.tables.get(table)
        if found is None:
            self.look()
            found = self.tables.get(table)
            if found is None:
                raise no_table(table, self.tables)
        return found


def _records(txn: Transaction) -> list[tuple[str, bytes]]:
    cursor = txn.cursor()
    found = cursor.set_range(layout.TABLE)
    records = []
    while found and cursor.key()[:1] == layout.TABLE:
        records.append((cursor.key()[1:].decode(), cursor.value()))
        found = cursor.next()
    return records


def _columns(raw: bytes) -> dict[str, Column]:
    return {name: layout.column_of(number, family) for name, (number, family) in _decode(raw).items()}
