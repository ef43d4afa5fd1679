"""Reads cells from Cassandra: rows from their partitions, scans as a merge of one walk through each."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from itertools import islice

from kaname.clock import Clock
from kaname.storage.cells.cassandra.catalog import Catalog
from kaname.storage.cells.cassandra.rows import Asked, Rows
from kaname.storage.cells.cassandra.statements import LAST
from kaname.storage.cells.cassandra.values import Excess, Found, seen
from kaname.storage.cells.cassandra.walk import Walk, row_of
from kaname.storage.cells.checked import check_limit, check_read
from kaname.storage.cells.types import Cells, Columns, Row


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
        stop = LAST if stop is None else stop
        if asked.nothing or limit == 0 or start >= stop:
            return iter(())
        return islice(self._scanned(asked, start, stop, reverse, ahead=limit is None), limit)

    def _asked(self, table: str, columns: Columns | None, versions: int) -> Asked:
        record = self._catalog.record(table)
        check_read(table, record.families, columns, versions)
        return Asked(table, record, columns, versions)

    def _scanned(self, asked: Asked, start: bytes, stop: bytes, reverse: bool, *, ahead: bool) -> Iterator[Row]:
        walks = [
            Walk(self._rows, asked, bucket, start, stop, reverse=reverse, ahead=ahead)
            for bucket in asked.record.buckets_of(start, stop)
        ]
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
