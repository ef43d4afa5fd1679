"""Answers a statement of SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from itertools import islice

from kaname.arrow import RecordBatch, Table, arrow
from kaname.errors import InvalidInput, NotFound
from kaname.features.columnar import PURPOSE, batches
from kaname.features.sql.dialect import Statement, parsed
from kaname.features.sql.explaining import explained
from kaname.features.sql.planning import Choices, check_allowed, plan_of
from kaname.features.sql.prepared import prepared
from kaname.features.sql.running import rows_of
from kaname.features.sql.statements import Delete, Insert, Select
from kaname.features.sql.values import Parameters
from kaname.features.stored import StoredRelation
from kaname.features.types import Type

DELETED_AT_ONCE = 1000


class Answer:
    """The rows of a query, read as they are taken, once; or how many were changed.

    for row in features.query("SELECT item FROM order WHERE user_id = ?", ["u1"]):
        print(row["item"])
    """

    def __init__(
        self, columns: Sequence[tuple[str, Type]], rows: Iterator[dict[str, object]], changed: int | None = None
    ) -> None:
        """`columns`: names and types, in their order."""
        self.columns = tuple(name for name, _ in columns)
        """Names, in their order."""
        self.changed = changed
        """Rows that were written or deleted; None for a query."""
        self._typed = columns
        self._rows = rows

    def __iter__(self) -> Iterator[dict[str, object]]:
        return self._rows

    def all(self) -> list[dict[str, object]]:
        """The rows that are left."""
        return list(self._rows)

    def batches(self) -> Iterator[RecordBatch]:
        """The rows that are left as Arrow batches, at least one of them. Raises MissingDependency."""
        return batches(self._rows, self._typed)

    def table(self) -> Table:
        """The rows that are left as an Arrow table."""
        return arrow(PURPOSE).pa.Table.from_batches(self.batches())


def query(
    text: str,
    relation: Callable[[Statement], StoredRelation],
    parameters: Parameters | None = None,
    *,
    plain: bool = False,
) -> Answer:
    """The answer to one statement; what changes rows has done so when this returns.

    `relation` opens the relation that a statement names, or refuses it. With `plain` the parameters are what JSON
    holds. Raises InvalidInput with the place in the text, what was found and what was expected, and what a store
    raises; the rows of a query may raise the latter, too.
    """
    statement = parsed(text)
    try:
        stored = relation(statement)
    except NotFound as error:
        raise _placed(error, statement) from None
    try:
        known = prepared(statement, stored.placement)
        wanted = known.asked(parameters, plain=plain)
    except RecursionError:
        raise InvalidInput("the statement is nested too deeply", where="query") from None
    if statement.explain:
        return _explained(wanted, stored)
    if isinstance(wanted, Insert):
        return Answer((), iter(()), stored.insert(wanted.rows, at=wanted.at))
    rows = _selected(wanted.chosen if isinstance(wanted, Delete) else wanted, stored, known.choices)
    return Answer((), iter(()), _deleted(rows, stored, wanted.at)) if isinstance(wanted, Delete) else rows


def _placed(error: NotFound, statement: Statement) -> NotFound:
    """Where the relation is named that does not exist."""
    where = statement.place(statement.table) if error.where == "relation" else error.where
    return NotFound(error.message, where=where, found=error.found, expected=error.expected)


def _selected(select: Select, stored: StoredRelation, choices: Choices) -> Answer:
    plan = plan_of(select, stored.placement, choices)
    check_allowed(select, plan)
    types = {attribute.name: attribute.type for attribute in stored.relation.attributes}
    columns = [(column.name, types[column.attribute]) for column in select.columns]
    return Answer(columns, rows_of(select, plan, stored))


def _deleted(keys: Answer, stored: StoredRelation, at: datetime | None) -> int:
    count = 0
    while some := list(islice(iter(keys), DELETED_AT_ONCE)):
        stored.delete(some, at=at)
        count += len(some)
    return count


def _explained(wanted: Select | Insert | Delete, stored: StoredRelation) -> Answer:
    row = explained(wanted, stored)
    return Answer([(name, Type("int64" if name == "limit" else "string")) for name in row], iter([row]))
