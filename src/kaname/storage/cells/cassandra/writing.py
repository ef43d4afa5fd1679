"""Batches in Cassandra: what lies in one partition goes together, partitions go side by side."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from kaname.clock import Clock
from kaname.storage.cells.cassandra.catalog import Catalog, Record
from kaname.storage.cells.cassandra.driver import Answer, Session, Statement, settle
from kaname.storage.cells.cassandra.statements import Statements
from kaname.storage.cells.cassandra.values import slot_of, stored, ttl_of
from kaname.storage.cells.types import Delete, Mutation, Put

AT_ONCE = 32
"""Groups on their way at once."""
GROUP_BYTES = 128 * 1024
"""About how much goes together where it is of several rows."""
ROW_BYTES = 8 * 1024 * 1024
"""Most of one row that goes together: a little beyond it is Cassandra's own limit (16 MiB, unless it is changed)."""
ROW_STATEMENTS = 10_000
STATEMENT_BYTES = 64

_Change: TypeAlias = tuple[int, Mutation]
"""A mutation and the moment of its put."""


class Writing:
    """Writes mutations that have timestamps. Thread-safe."""

    def __init__(self, session: Session, catalog: Catalog, clock: Clock) -> None:
        self._session = session
        self._catalog = catalog
        self._time_ns = clock.time_ns
        self._lock = threading.Lock()
        self._last_us = 0

    def write(self, mutations: Sequence[Mutation]) -> None:
        """Have them applied; returns when as many nodes have confirmed them as the consistency asks for.

        Raises Unavailable and DeadlineExceeded: some may have been applied, and to write all again is safe.
        """
        pending: deque[Answer] = deque()
        try:
            for group in self._groups(mutations):
                if len(pending) == AT_ONCE:
                    pending.popleft().rows()
                pending.append(self._session.start_together(group))
            while pending:
                pending.popleft().rows()
        finally:
            settle(pending)

    def _groups(self, mutations: Sequence[Mutation]) -> Iterator[list[Statement]]:
        """Statements that go together, each group on one partition. A row is divided only where it is too large."""
        now_us = self._time_ns() // 1000
        first_us = self._moments(len(mutations), now_us)
        rows: dict[tuple[str, bytes], list[_Change]] = {}
        for i, one in enumerate(mutations):
            rows.setdefault((one.table, one.row), []).append((first_us + i, one))
        open_: dict[tuple[str, int], tuple[list[Statement], int]] = {}
        for (table, row), changes in rows.items():
            record = self._catalog.record(table)
            place = table, record.bucket_of(row)
            for part, size in _parts(changes, record, self._catalog.statements(table), now_us):
                group, before = open_.pop(place, ([], 0))
                if group and before + size > GROUP_BYTES:
                    yield group
                    group, before = [], 0
                open_[place] = group + part, before + size
        yield from (group for group, _ in open_.values())

    def _moments(self, count: int, now_us: int) -> int:
        """The first of so many moments that no earlier value of this process was put at."""
        with self._lock:
            first = max(now_us, self._last_us + 1)
            self._last_us = first + count
            return first


def _parts(
    changes: Sequence[_Change], record: Record, statements: Statements, now_us: int
) -> Iterator[tuple[list[Statement], int]]:
    """The statements of a row, mostly all of them, and their bytes."""
    part: list[Statement] = []
    size = 0
    for put_us, one in changes:
        bucket = record.bucket_of(one.row)
        made = (
            _delete(one, bucket, statements)
            if isinstance(one, Delete)
            else _put(one, bucket, record, statements, put_us, now_us)
        )
        for statement, more in made:
            if part and (size + more > ROW_BYTES or len(part) == ROW_STATEMENTS):
                yield part, size
                part, size = [], 0
            part.append(statement)
            size += more
    if part:
        yield part, size


def _put(
    put: Put, bucket: int, record: Record, statements: Statements, put_us: int, now_us: int
) -> Iterator[tuple[Statement, int]]:
    stamp = put.timestamp_us
    assert stamp is not None
    family = record.families[put.family]
    ttl = ttl_of(family, stamp, now_us)
    if ttl is None:
        return
    slot = slot_of(family, stamp)
    for qualifier, value in put.values.items():
        values = (stamp, ttl, stored(value, put_us), bucket, put.row, put.family, qualifier, slot)
        yield Statement(statements.put, values), STATEMENT_BYTES + len(put.row) + len(qualifier) + len(value)


def _delete(delete: Delete, bucket: int, statements: Statements) -> Iterator[tuple[Statement, int]]:
    some, one, cell = statements.deletes
    where = delete.until_us, bucket, delete.row
    size = STATEMENT_BYTES + len(delete.row)
    if delete.family is None:
        yield Statement(some, where), size
    elif delete.qualifiers is None:
        yield Statement(one, (*where, delete.family)), size
    else:
        for qualifier in delete.qualifiers:
            yield Statement(cell, (*where, delete.family, qualifier)), size + len(qualifier)
