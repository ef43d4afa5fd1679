"""Reads cells from Cassandra: rows from their partitions, scans as a merge of one walk through each."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from kaname.clock import Clock
from kaname.storage.cells.cassandra.catalog import Catalog
from kaname.storage.cells.cassandra.rows import AT_ONCE, Asked, Rows
from kaname.storage.cells.cassandra.statements import LAST
from kaname.storage.cells.cassandra.values import Excess, Found, seen
from kaname.storage.cells.cassandra.walk import FEW_CELLS, FIRST_CELLS, Walk, row_of
from kaname.storage.cells.checked import check_limit, check_read
from kaname.storage.cells.types import Cells, Columns, Range, Row


class Reader:
    """`CellReader` on a cluster."""

    def __init__(self, rows: Rows, catalog: Catalog, clock: Clock) -> None:
        self._rows = rows
        self._catalog = catalog
        self._time_ns = clock.time_ns

    def get(self, table: str, row: bytes, columns: Columns | None = None, *, versions: int = 1) -> Cells:
        return self.get_many(table, [row], columns, versions=versions)[0]

    def get_many(
        self, table: str, rows: Sequence[bytes], columns: Columns | None = None, *, versions: int = 1
    ) -> list[Cells]:
        asked = self._asked(table, columns, versions)
        lying = self._rows.lying(asked, rows)
        return [self._seen(asked, lying.get(row, ())) for row in rows]

    def get_first(
        self, table: str, ranges: Sequence[Range], columns: Columns | None = None, *, reverse: bool = False
    ) -> list[Row | None]:
        asked = self._asked(table, columns, 1)
        return [None] * len(ranges) if asked.nothing else list(self._firsts(asked, ranges, reverse))

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
        if asked.nothing or limit == 0:
            return iter(())
        walks = self._walks(asked, start, stop, reverse=reverse, ahead=limit is None)
        return islice(self._merged(asked, walks, reverse), limit)

    def _asked(self, table: str, columns: Columns | None, versions: int) -> Asked:
        record = self._catalog.record(table)
        check_read(table, record.families, columns, versions)
        return Asked(table, record, columns, versions)

    def _firsts(self, asked: Asked, ranges: Sequence[Range], reverse: bool) -> Iterator[Row | None]:
        """Walks through some `AT_ONCE` partitions are on their way while the first of them ends."""
        begun: deque[list[Walk]] = deque()
        for start, stop in ranges:
            while sum(map(len, begun)) >= AT_ONCE:
                yield next(self._merged(asked, begun.popleft(), reverse), None)
            begun.append(list(self._walks(asked, start, stop, reverse=reverse, cells=FEW_CELLS)))
        for walks in begun:
            yield next(self._merged(asked, walks, reverse), None)

    def _walks(
        self,
        asked: Asked,
        start: bytes,
        stop: bytes | None,
        *,
        reverse: bool,
        ahead: bool = False,
        cells: int = FIRST_CELLS,
    ) -> Iterator[Walk]:
        """One through each partition that rows from `start` to before `stop` may lie in."""
        end = LAST if stop is None else stop
        for bucket in asked.record.buckets_of(start, end) if start < end else ():
            yield Walk(self._rows, asked, bucket, start, end, reverse=reverse, ahead=ahead, cells=cells)

    def _merged(self, asked: Asked, walks: Iterable[Walk], reverse: bool) -> Iterator[Row]:
        for key, lying in heapq.merge(*walks, key=row_of, reverse=reverse):
            if cells := self._seen(asked, lying):
                yield Row(key, cells)

    def _seen(self, asked: Asked, lying: Sequence[Found]) -> Cells:
        excess: list[Excess] = []
        now_us = self._time_ns() // 1000
        cells = seen(lying, asked.record.families, asked.columns, asked.versions, now_us, excess)
        for one in excess:
            self._rows.remove(asked, one)
        return cells
