"""A cell store inside one process that forgets everything at its end; the simplest thing that keeps the promises."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from kaname.clock import Clock
from kaname.storage.cells.checked import check_limit, check_read, check_table, extended, no_table, stamped
from kaname.storage.cells.types import Cell, Cells, Columns, Delete, Family, Mutation, Put, Range, Row, Table

_Column = tuple[str, bytes]
"""Family and qualifier."""
_Rows = dict[bytes, dict[_Column, dict[int, bytes]]]
"""Values by timestamp, of each column of each row."""


class MemoryCells:
    """Implements `CellStore` for the threads of one process; "durable" lasts as long as that."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._families: dict[str, dict[str, Family]] = {}
        self._rows: dict[str, _Rows] = {}

    # --- tables -------------------------------------------------------------------------------------------

    def define(self, table: Table) -> None:
        check_table(table)
        with self._lock:
            self._families[table.name] = extended(self._families.get(table.name, {}), table)
            self._rows.setdefault(table.name, {})

    def drop(self, name: str) -> None:
        with self._lock:
            self._families.pop(name, None)
            self._rows.pop(name, None)

    def tables(self) -> list[Table]:
        with self._lock:
            return [Table(name, dict(families)) for name, families in sorted(self._families.items())]

    # --- writing ------------------------------------------------------------------------------------------

    def write(self, mutations: Sequence[Mutation]) -> None:
        with self._lock:
            for one in stamped(mutations, self._families, self._now_us()):
                rows = self._rows[one.table]
                if isinstance(one, Put):
                    _put(rows.setdefault(one.row, {}), one)
                else:
                    _delete(rows.get(one.row, {}), one)

    # --- reading ------------------------------------------------------------------------------------------

    def get(self, table: str, row: bytes, columns: Columns | None = None, *, versions: int = 1) -> Cells:
        return self.get_many(table, [row], columns, versions=versions)[0]

    def get_many(
        self, table: str, rows: Sequence[bytes], columns: Columns | None = None, *, versions: int = 1
    ) -> list[Cells]:
        with self._lock:
            self._check(table, columns, versions)
            return [self._read(table, row, columns, versions) for row in rows]

    def get_first(
        self, table: str, ranges: Sequence[Range], columns: Columns | None = None, *, reverse: bool = False
    ) -> list[Row | None]:
        with self._lock:
            self._check(table, columns, 1)
            return [next(self.scan(table, *each, columns=columns, limit=1, reverse=reverse), None) for each in ranges]

    def scan(
        self,
        table: str,
        start: bytes = b"",
        stop: bytes | None = None,
        *,
        columns: Columns | None = None,
        limit: int | None = None,
        reverse: bool = False,
        versions: int = 1,
    ) -> Iterator[Row]:
        with self._lock:
            self._check(table, columns, versions)
            check_limit(table, limit)
            keys = sorted(row for row in self._rows[table] if start <= row and (stop is None or row < stop))
            read = ((key, self._read(table, key, columns, versions)) for key in (keys[::-1] if reverse else keys))
            found = [Row(key, cells) for key, cells in read if cells]
        return iter(found[:limit])

    def _check(self, table: str, columns: Columns | None, versions: int) -> None:
        if table not in self._families:
            raise no_table(table, self._families)
        check_read(table, self._families[table], columns, versions)

    def _read(self, table: str, row: bytes, columns: Columns | None, versions: int) -> Cells:
        found: Cells = {}
        for (name, qualifier), values in sorted(self._rows[table].get(row, {}).items()):
            wanted = None if columns is None else columns.get(name, ())
            if wanted is None or qualifier in wanted:
                cells = [Cell(qualifier, stamp, value) for stamp, value in sorted(values.items(), reverse=True)]
                cells = self._seen(self._families[table][name], cells)[:versions]
                if cells:
                    found.setdefault(name, []).extend(cells)
        return found

    def _seen(self, family: Family, cells: list[Cell]) -> list[Cell]:
        dead_us = -1 if family.ttl_s is None else self._now_us() - round(family.ttl_s * 1e6)
        return [cell for cell in cells[: family.versions] if cell.timestamp_us > dead_us]

    def _now_us(self) -> int:
        return self._clock.time_ns() // 1000

    def close(self) -> None:
        return


def _put(row: dict[_Column, dict[int, bytes]], put: Put) -> None:
    assert put.timestamp_us is not None
    for qualifier, value in put.values.items():
        row.setdefault((put.family, qualifier), {})[put.timestamp_us] = value


def _delete(row: dict[_Column, dict[int, bytes]], delete: Delete) -> None:
    assert delete.until_us is not None
    for (family, qualifier), values in row.items():
        named = delete.family in (None, family)
        if named and (delete.qualifiers is None or qualifier in delete.qualifiers):
            for stamp in [stamp for stamp in values if stamp <= delete.until_us]:
                del values[stamp]
