"""What lies in rows, asked for partition by partition."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast

from kaname.storage.cells.cassandra.catalog import Catalog, Record
from kaname.storage.cells.cassandra.driver import Answer, Session, Statement, settle
from kaname.storage.cells.cassandra.values import Excess, Found
from kaname.storage.cells.types import MAX_ROW_BYTES, Columns

AT_ONCE = 64
"""Queries on their way at once."""
ROWS_AT_ONCE = 32
"""Rows of one partition in one query."""


class Asked(NamedTuple):
    """What is read of each row of a table."""

    table: str
    record: Record
    columns: Columns | None
    versions: int

    @property
    def nothing(self) -> bool:
        """Whether no cell can be among them."""
        return self.columns is not None and not any(of is None or of for of in self.columns.values())

    @property
    def filters(self) -> tuple[int, tuple[object, ...]]:
        """Which of the statements reads little more than that, and its values; the rest is sorted out by `seen`."""
        if self.columns is None:
            return 0, ()
        if len(self.columns) == 1:
            [(family, qualifiers)] = self.columns.items()
            if qualifiers is not None:
                return 2, ([family], list(dict.fromkeys(qualifiers)))
        return 1, (list(self.columns),)


class Rows:
    """The queries on a cluster."""

    def __init__(self, session: Session, catalog: Catalog) -> None:
        self._session = session
        self._catalog = catalog

    def lying(self, asked: Asked, rows: Sequence[bytes]) -> dict[bytes, list[Found]]:
        """What lies in rows, each of them as it was at one moment; a row without cells is absent."""
        which, values = asked.filters
        statement = self._catalog.statements(asked.table).get[which]
        buckets: dict[int, list[bytes]] = {}
        if not asked.nothing:
            for row in dict.fromkeys(rows):
                if 0 < len(row) <= MAX_ROW_BYTES:
                    buckets.setdefault(asked.record.bucket_of(row), []).append(row)
        found: dict[bytes, list[Found]] = {}
        for cell in self._answers(
            Statement(statement, (bucket, some[i : i + ROWS_AT_ONCE], *values))
            for bucket, some in buckets.items()
            for i in range(0, len(some), ROWS_AT_ONCE)
        ):
            found.setdefault(cell[0], []).append(cell)
        return found

    def page(self, asked: Asked, bucket: int, start: bytes, stop: bytes, reverse: bool, most: int) -> Answer:
        """Ask for the next cells of a partition, at most so many; `found_in` reads them."""
        statements = self._catalog.statements(asked.table)
        which, values = asked.filters
        scan = (statements.backwards if reverse else statements.forwards)[which]
        return self._session.start(Statement(scan, (bucket, start, stop, *values, most)))

    def remove(self, asked: Asked, excess: Excess) -> None:
        """Have cells removed that nobody sees; where that fails somebody else will."""
        *_, delete = self._catalog.statements(asked.table).deletes
        bucket = asked.record.bucket_of(excess.row)
        self._session.start(Statement(delete, (excess.until_us, bucket, excess.row, excess.family, excess.qualifier)))

    def _answers(self, statements: Iterator[Statement]) -> Iterator[Found]:
        pending: deque[Answer] = deque()
        try:
            for statement in statements:
                if len(pending) == AT_ONCE:
                    yield from found_in(pending.popleft())
                pending.append(self._session.start(statement))
            while pending:
                yield from found_in(pending.popleft())
        finally:
            settle(pending)


def found_in(answer: Answer) -> list[Found]:
    """The cells that a query finds, when they are there."""
    return cast("list[Found]", answer.rows())
