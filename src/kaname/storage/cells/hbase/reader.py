"""Reads cells from HBase, which keeps rows in their order."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from kaname.clock import Clock
from kaname.storage.cells.checked import check_limit, check_read
from kaname.storage.cells.hbase.catalog import Catalog
from kaname.storage.cells.hbase.driver import Pool, idl
from kaname.storage.cells.types import MAX_ROW_BYTES, Cell, Cells, Columns, Family, Range, Row

ROWS_AT_ONCE = 100
FIRST_ROWS, MOST_ROWS = 64, 1_000
PAGE_BYTES = 2 * 1024 * 1024
"""About how much of a scan is read at once, when it is known how large rows are."""


class _Asked(NamedTuple):
    """What is read of each row."""

    name: bytes
    families: Mapping[str, Family]
    columns: list[Any] | None
    versions: int


class Reader:
    """`CellReader` on HBase."""

    def __init__(self, pool: Pool, catalog: Catalog, clock: Clock) -> None:
        self._pool = pool
        self._catalog = catalog
        self._time_ns = clock.time_ns

    def get(self, table: str, row: bytes, columns: Columns | None = None, *, versions: int = 1) -> Cells:
        return self.get_many(table, [row], columns, versions=versions)[0]

    def get_many(
        self, table: str, rows: Sequence[bytes], columns: Columns | None = None, *, versions: int = 1
    ) -> list[Cells]:
        asked = self._asked(table, columns, versions)
        wanted = [] if asked.columns == [] else [row for row in dict.fromkeys(rows) if 0 < len(row) <= MAX_ROW_BYTES]
        found: dict[bytes, Cells] = {}
        for i in range(0, len(wanted), ROWS_AT_ONCE):
            some = wanted[i : i + ROWS_AT_ONCE]
            gets = [idl.TGet(row=row, columns=asked.columns, maxVersions=asked.versions) for row in some]
            results = self._pool.call("getMultiple", asked.name, gets)
            found.update(zip(some, (self._seen(asked, result) for result in results), strict=True))
        return [found.get(row, {}) for row in rows]

    def get_first(
        self, table: str, ranges: Sequence[Range], columns: Columns | None = None, *, reverse: bool = False
    ) -> list[Row | None]:
        asked = self._asked(table, columns, 1)
        return self._pool.each(lambda each: next(self._scanned(asked, *each, 1, reverse), None), ranges)

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
        asked = self._asked(table, columns, versions)
        check_limit(table, limit)
        return self._scanned(asked, start, stop, sys.maxsize if limit is None else limit, reverse)

    def _asked(self, table: str, columns: Columns | None, versions: int) -> _Asked:
        families = self._catalog.known(table)
        check_read(table, families, columns, versions)
        wanted = None if columns is None else [one for family in columns.items() for one in _columns(*family)]
        return _Asked(self._catalog.name(table), families, wanted, min(versions, 2**31 - 1))

    def _scanned(self, asked: _Asked, start: bytes, stop: bytes | None, limit: int, reverse: bool) -> Iterator[Row]:
        if asked.columns == [] or (stop is not None and start >= stop):
            return
        most = min(FIRST_ROWS, limit + reverse)  # backwards it begins with the row `stop`, which is not wanted
        while limit > 0:
            page = self._page(asked, start, stop, reverse, most)
            for key, cells in ((result.row, self._seen(asked, result)) for result in page):
                if cells and limit > 0 and key != stop:
                    limit -= 1
                    yield Row(key, cells)
            if len(page) < most:
                return
            start, stop = (start, page[-1].row) if reverse else (page[-1].row + b"\0", stop)
            size = sum(len(cell.value) for result in page for cell in result.columnValues)
            most = max(2, min(MOST_ROWS, PAGE_BYTES * len(page) // (size + 1)))

    def _page(self, asked: _Asked, start: bytes, stop: bytes | None, reverse: bool, most: int) -> list[Any]:
        """The next rows; backwards HBase begins with the row `stop` itself, and ends behind a row."""
        first, last = (stop or b"", _before(start)) if reverse else (start, stop or b"")
        what = {"columns": asked.columns, "maxVersions": asked.versions}
        scan = idl.TScan(startRow=first, stopRow=last, reversed=reverse, limit=most, **what)
        found: list[Any] = self._pool.call("getScannerResults", asked.name, scan, most)
        return found

    def _seen(self, asked: _Asked, result: Any) -> Cells:
        """HBase has counted versions; what is over is for us to leave out."""
        now_us = self._time_ns() // 1000
        cells: Cells = {}
        for one in result.columnValues:
            name = one.family.decode()
            ttl_s = asked.families[name].ttl_s if name in asked.families else None
            if ttl_s is None or one.timestamp > now_us - round(ttl_s * 1e6):
                cells.setdefault(name, []).append(Cell(one.qualifier, one.timestamp, one.value))
        return cells


def _columns(family: str, qualifiers: Any) -> list[Any]:
    name = family.encode()
    if qualifiers is None:
        return [idl.TColumn(family=name)]
    return [idl.TColumn(family=name, qualifier=qualifier) for qualifier in dict.fromkeys(qualifiers)]


def _before(row: bytes) -> bytes:
    """A key behind all keys that lie before a row, so that a walk backwards that ends at it has the row itself."""
    if not row or row[-1] == 0:
        return row[:-1]
    return row[:-1] + bytes([row[-1] - 1]) + b"\xff" * MAX_ROW_BYTES
