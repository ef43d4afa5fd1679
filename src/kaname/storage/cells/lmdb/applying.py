"""Applies changes inside the owner's transaction: each request wholly or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter

from kaname.storage.cells.checked import check_table, no_family, no_table
from kaname.storage.cells.lmdb import layout
from kaname.storage.cells.lmdb.catalog import Catalog
from kaname.storage.cells.lmdb.change import Change, Define, Drop
from kaname.storage.cells.lmdb.layout import Column
from kaname.storage.cells.types import Cell, Delete, Mutation, Put
from kaname.storage.mapped.environment import Transaction


def apply(txn: Transaction, catalog: Catalog, change: Change, now_us: int) -> None:
    """Make a change; raises NotFound, InvalidInput, TooLarge or CorruptData before anything of it is made."""
    if isinstance(change, Define):
        check_table(change.table)
        catalog.define(txn, change.table)
    elif isinstance(change, Drop):
        catalog.drop(txn, change.name)
    else:
        rows = _Rows(txn, catalog, now_us)
        for mutation in change.mutations:
            rows.change(mutation)
        rows.store()


class _Rows:
    """The rows that a batch changes, in memory until all of it is known to be right."""

    def __init__(self, txn: Transaction, catalog: Catalog, now_us: int) -> None:
        self._txn = txn
        self._tables = catalog.tables
        self._now_us = now_us
        self._changed: dict[bytes, list[Cell] | bytes] = {}
        """Cells that were worked on, or a value as it goes to the database."""

    def change(self, mutation: Mutation) -> None:
        """Work a mutation in; one that came here was found right by `stamped`, but tables may have gone since."""
        families = self._tables.get(mutation.table)
        if families is None:
            raise no_table(mutation.table, self._tables)
        if mutation.family is not None and mutation.family not in families:
            raise no_family(mutation.table, mutation.family, families)
        if isinstance(mutation, Put):
            self._put(families[mutation.family], mutation)
        else:
            for name, column in families.items():
                if mutation.family in (None, name):
                    self._delete(column.prefix + mutation.row, mutation)

    def _put(self, column: Column, put: Put) -> None:
        stamp = put.timestamp_us
        assert stamp is not None
        key = column.prefix + put.row
        old = self._cells(key)
        if not old or (column.family.versions == 1 and _replaces(put.values, stamp, old)):
            self._changed[key] = layout.pack_values(put.values, stamp)
        else:
            self._changed[key] = _merged(column, old, put, self._now_us)

    def _delete(self, key: bytes, delete: Delete) -> None:
        old = self._cells(key)
        if old:
            self._changed[key] = _without(old, delete)

    def _cells(self, key: bytes) -> list[Cell]:
        found = self._changed.get(key)
        if found is None:
            found = self._txn.get(key, b"")
        return found if isinstance(found, list) else layout.unpack(found) if found else []

    def store(self) -> None:
        """Hand all rows to the transaction."""
        for key, found in sorted(self._changed.items(), key=itemgetter(0)):
            if not found:
                self._txn.delete(key)
            else:
                self._txn.put(key, layout.pack(found) if isinstance(found, list) else found)


def _replaces(values: Mapping[bytes, bytes], stamp: int, old: list[Cell]) -> bool:
    """Whether nothing of the old cells is seen any more, where one of a qualifier is kept."""
    return all(cell.timestamp_us <= stamp and cell.qualifier in values for cell in old)


def _merged(column: Column, old: list[Cell], put: Put, now_us: int) -> list[Cell]:
    """Old and new cells in order, without those that nobody sees any more."""
    stamp = put.timestamp_us
    assert stamp is not None
    cells = {(cell.qualifier, -cell.timestamp_us): cell for cell in old}
    cells |= {(qualifier, -stamp): Cell(qualifier, stamp, value) for qualifier, value in put.values.items()}
    dead_us = column.dead_us(now_us)
    ordered = [cell for _, cell in sorted(cells.items(), key=itemgetter(0)) if cell.timestamp_us > dead_us]
    return layout.newest(ordered, column.family.versions)


def _without(cells: list[Cell], delete: Delete) -> list[Cell]:
    until_us, qualifiers = delete.until_us, delete.qualifiers
    assert until_us is not None
    return [
        cell
        for cell in cells
        if cell.timestamp_us > until_us or (qualifiers is not None and cell.qualifier not in qualifiers)
    ]
