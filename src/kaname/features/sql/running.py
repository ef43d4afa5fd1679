"""Goes the way of a plan: reads rows of a relation, and keeps those that are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

from kaname.features.ranges import Span
from kaname.features.sql.conditions import Test, attributes_of, test_of
from kaname.features.sql.orders import in_order, merged
from kaname.features.sql.plans import Plan, needed
from kaname.features.sql.statements import Select
from kaname.features.stored import StoredRelation
from kaname.features.types import Row

ROWS_AT_ONCE = 256
"""Read by key together."""


def rows_of(select: Select, plan: Plan, relation: StoredRelation) -> Iterator[dict[str, object]]:
    """The columns of the rows that are asked for, in order; read as they are taken."""
    limit = None if plan.rest or plan.arranged == "sorted" else select.limit
    rows = _arranged(select, plan, _Reading(select, plan, relation, limit))
    columns = [(column.name, column.attribute) for column in select.columns]
    for row in islice(rows, select.limit):
        yield {name: row[attribute] for name, attribute in columns}


def _arranged(select: Select, plan: Plan, reading: _Reading) -> Iterable[Row]:
    if plan.arranged == "sorted":
        return in_order(reading.all(), select.order, select.limit)
    if plan.arranged == "merged":
        return merged(map(reading.span, plan.spans), select.order)
    return reading.all()


class _Reading:
    """Reads points and ranges of one plan."""

    def __init__(self, select: Select, plan: Plan, relation: StoredRelation, limit: int | None) -> None:
        """`limit`: rows of a range, all of which are asked for; None: it cannot be told."""
        self._plan = plan
        self._relation = relation
        self._limit = limit
        self._wanted = needed(select, plan.rest)
        if plan.missing:
            self._wanted.update(attribute.name for attribute in relation.relation.key)
        early = [one for one in plan.rest if not set(plan.missing).intersection(attributes_of(one))]
        self._early = list(map(test_of, early))
        self._late = [test_of(one) for one in plan.rest if one not in early]

    def all(self) -> Iterator[Row]:
        """All rows, range after range."""
        if self._plan.access == "points":
            return self._points()
        spans = reversed(self._plan.spans) if self._plan.reverse else self._plan.spans
        return chain.from_iterable(map(self.span, spans))

    def span(self, span: Span) -> Iterator[Row]:
        """The rows of one range."""
        plan = self._plan
        rows: Iterator[Row] = self._relation.scan(
            plan.layout, span, limit=self._limit, reverse=plan.reverse, attributes=self._wanted
        )
        rows = _kept(rows, self._early)
        return _kept(self._filled(rows), self._late) if plan.missing else rows

    def _points(self) -> Iterator[Row]:
        names = self._relation.relation.names
        wanted = None if self._wanted.issuperset(names) else [name for name in names if name in self._wanted]
        for keys in _parts(iter(self._plan.keys), self._at_once()):
            found = self._relation.get_many(keys, wanted)
            yield from _kept((row for row in found if row is not None), self._early + self._late)

    def _filled(self, rows: Iterator[Row]) -> Iterator[Row]:
        """The rows with what the layout lacks."""
        for some in _parts(rows, self._at_once()):
            for row, more in zip(some, self._relation.get_many(some, self._plan.missing), strict=True):
                if more is not None:
                    yield {**row, **more}

    def _at_once(self) -> int:
        return ROWS_AT_ONCE if self._limit is None else max(1, min(self._limit, ROWS_AT_ONCE))


def _kept(rows: Iterator[Row], tests: Sequence[Test]) -> Iterator[Row]:
    if not tests:
        return rows
    return (row for row in rows if all(test(row) for test in tests))


def _parts(rows: Iterator[Row], most: int) -> Iterator[list[Row]]:
    while some := list(islice(rows, most)):
        yield some
