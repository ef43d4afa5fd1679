"""Reads cells straight from the map, in any process: no lock of another process is ever waited for."""

from __future__ import annotations

import heapq
import sys
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from operator import itemgetter

from kaname.clock import Clock
from kaname.storage.cells.checked import check_limit, check_read
from kaname.storage.cells.lmdb import layout
from kaname.storage.cells.lmdb.catalog import Known
from kaname.storage.cells.lmdb.layout import Column
from kaname.storage.cells.prefix import after
from kaname.storage.cells.types import Cells, Columns, Range, Row
from kaname.storage.mapped.environment import Environment, Transaction

ROWS_AT_ONCE = 256
BYTES_AT_ONCE = 4 * 1024 * 1024
"""Most that one transaction copies (at least one row): a slow reader must not hold space back."""

_Wanted = list[tuple[str, Column, Collection[bytes] | None]]
"""The families to read, by name, and the qualifiers of each."""
_Found = tuple[bytes, str, bytes]
"""Row, family and value."""
_row = itemgetter(0)


class Reader:
    """`CellReader` on an environment."""

    def __init__(self, env: Environment, known: Known, clock: Clock) -> None:
        self._env = env
        self._known = known
        self._time_ns = clock.time_ns

    def get(self, table: str, row: bytes, columns: Columns | None = None, *, versions: int = 1) -> Cells:
        wanted = self._wanted(table, columns, versions)
        found = self._env.get_all([layout.key_of(column.prefix, row) for _, column, _ in wanted])
        return self._seen(wanted, found, versions)

    def get_many(
        self, table: str, rows: Sequence[bytes], columns: Columns | None = None, *, versions: int = 1
    ) -> list[Cells]:
        wanted = self._wanted(table, columns, versions)
        width = len(wanted)
        cells: list[Cells] = []
        for first in range(0, len(rows), ROWS_AT_ONCE):
            some = rows[first : first + ROWS_AT_ONCE]
            found = self._env.get_all([layout.key_of(column.prefix, row) for row in some for _, column, _ in wanted])
            cells += [self._seen(wanted, found[i * width : (i + 1) * width], versions) for i in range(len(some))]
        return cells

    def get_first(
        self, table: str, ranges: Sequence[Range], columns: Columns | None = None, *, reverse: bool = False
    ) -> list[Row | None]:
        wanted = self._wanted(table, columns, 1)
        return [next(self._rows(wanted, start, stop, 1, reverse, 1), None) for start, stop in ranges]

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
        wanted = self._wanted(table, columns, versions)
        check_limit(table, limit)
        return self._rows(wanted, start, stop, limit, reverse, versions)

    def _wanted(self, table: str, columns: Columns | None, versions: int) -> _Wanted:
        families = self._known.families(table)
        if columns is None and versions == 1:
            return [(name, column, None) for name, column in families.items()]
        check_read(table, families, columns, versions)
        chosen = dict.fromkeys(families) if columns is None else columns
        return [(name, families[name], qualifiers) for name, qualifiers in chosen.items()]

    def _seen(self, wanted: _Wanted, found: Sequence[bytes | None], versions: int) -> Cells:
        cells: Cells = {}
        for (name, column, qualifiers), value in zip(wanted, found, strict=True):
            if value is not None and (some := layout.seen(column, value, qualifiers, versions, self._time_ns)):
                cells[name] = some
        return cells

    def _rows(
        self, wanted: _Wanted, start: bytes, stop: bytes | None, limit: int | None, reverse: bool, versions: int
    ) -> Iterator[Row]:
        left = sys.maxsize if limit is None else limit
        while left > 0 and (page := self._page(wanted, start, stop, reverse, min(left, ROWS_AT_ONCE))):
            for key, found in page:
                cells = self._seen(wanted, [found.get(name) for name, *_ in wanted], versions)
                if cells:
                    left -= 1
                    yield Row(key, cells)
            start, stop = (start, key) if reverse else (key + b"\0", stop)

    def _page(
        self, wanted: _Wanted, start: bytes, stop: bytes | None, reverse: bool, most: int
    ) -> list[tuple[bytes, dict[str, bytes]]]:
        """The next rows, copied in one transaction."""
        page: list[tuple[bytes, dict[str, bytes]]] = []
        size = 0
        with self._env.reading() as txn:
            walks = [_walk(txn, name, column.prefix, start, stop, reverse) for name, column, _ in wanted]
            merged = walks[0] if len(walks) == 1 else heapq.merge(*walks, key=_row, reverse=reverse)
            for key, found in groupby(merged, _row):
                row = {name: value for _, name, value in found}
                page.append((key, row))
                size += sum(map(len, row.values()))
                if len(page) == most or size >= BYTES_AT_ONCE:
                    break
        return page


def _walk(
    txn: Transaction, family: str, prefix: bytes, start: bytes, stop: bytes | None, reverse: bool
) -> Iterator[_Found]:
    """The values of a family from `start` to before `stop`, or the other way."""
    low = layout.key_of(prefix, start)
    high = after(prefix) if stop is None else layout.key_of(prefix, stop)
    assert high is not None
    cursor = txn.cursor()
    if reverse:
        found = cursor.prev() if cursor.set_range(high) else cursor.last()
        while found and cursor.key() >= low:
            yield cursor.key()[layout.PREFIX_BYTES :], family, cursor.value()
            found = cursor.prev()
    else:
        found = cursor.set_range(low)
        while found and cursor.key() < high:
            yield cursor.key()[layout.PREFIX_BYTES :], family, cursor.value()
            found = cursor.next()
