"""Chooses the layout in which the fewest rows have to be read, and what of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import product
from math import prod
from typing import TypeAlias

import msgspec
from msgspec.structs import replace

from kaname.errors import InvalidInput
from kaname.features.layout import Layout
from kaname.features.parts import CompiledPart
from kaname.features.placement import Placement
from kaname.features.ranges import Span, Within, following, names_of
from kaname.features.sql.bounds import Bounds, bounds_of
from kaname.features.sql.conditions import Comparison, Condition, IsNull, Like, Not, OneOf, attributes_of, parts_of
from kaname.features.sql.orders import of_points, of_ranges
from kaname.features.sql.plans import Access, Arranged, Plan, needed
from kaname.features.sql.refusals import FULL_SCAN
from kaname.features.sql.spans import apart
from kaname.features.sql.statements import Select
from kaname.features.types import Row

MOST_COMBINED = 1000
"""Points or ranges of one query: IN of several attributes means all combinations."""

MOST_CHOICES = 32
"""Of one statement."""

MOST_MERGED = 100
"""Ranges that are read side by side; the rows of more are sorted."""

_ARRANGED: dict[Arranged, int] = {"as stored": 0, "merged": 1, "sorted": 2}
_COST: dict[Access, int] = {"nothing": 0, "points": 1, "ranges": 2, "full scan": 3}


Shape: TypeAlias = tuple[tuple[str, int, bool, bool, bool], ...]
"""What is known of which attributes, without the values: a layout is chosen by little more."""
Choices: TypeAlias = dict[Shape, tuple[Layout, tuple[int, ...]]]
"""The layout that was best for one statement with other parameters, and what it cost."""


def plan_of(select: Select, placement: Placement, choices: Choices | None = None) -> Plan:
    """The best plan; whether it may be gone is another question (`check_allowed`)."""
    key = {attribute.name for attribute in placement.relation.key}
    conditions = [one for one in parts_of(select.where) if not _holds_for_keys(one, key)]
    bounds = bounds_of(conditions)
    asked = _Asked(select, conditions, bounds, _contradicts(conditions, bounds, key))
    chosen = None if choices is None else _as_chosen(asked, choices)
    if chosen is None:
        chosen = min((_plan(asked, layout) for layout in placement.layouts), key=_cost)  # the first of equal ones
        if choices is not None and len(choices) < MOST_CHOICES:
            choices[_shape(asked)] = chosen.layout, _cost(chosen)
    return chosen


def _as_chosen(asked: _Asked, choices: Choices) -> Plan | None:
    """The plan of the layout that was best for other values; None: of these it has to read more."""
    before = choices.get(_shape(asked))
    if before is None:
        return None
    layout, cost = before
    plan = _plan(asked, layout)
    return plan if _cost(plan) <= cost else None


def _shape(asked: _Asked) -> Shape:
    return tuple(
        [
            (name, -1 if of.equal is None else len(of.equal), of.low is not None, of.high is not None, bool(of.begins))
            for name, of in asked.bounds.items()
        ]
    )


def check_allowed(select: Select, plan: Plan) -> None:
    """Raises InvalidInput for a full scan that was not allowed.

    A number of rows in the order in which they are stored is no such scan.
    """
    few = select.limit is not None and not plan.rest and plan.arranged != "sorted"
    if plan.access == "full scan" and not few and not select.allow_filtering:
        asked = sorted({name for one in plan.rest for name in attributes_of(one)})
        found = f"conditions on {', '.join(asked)}" if asked else "no conditions"
        if not asked and select.limit is not None:
            found = "an order in which no layout keeps its rows"
        raise InvalidInput("a query that reads the whole table", where="query", found=found, expected=FULL_SCAN)


class _Asked(msgspec.Struct):
    """A query and what its conditions say."""

    select: Select
    conditions: Sequence[Condition]
    bounds: Mapping[str, Bounds]
    nothing: bool
    """No row can meet the conditions."""

    def values(self, name: str) -> tuple[object, ...] | None:
        """The values that an attribute may have."""
        return self.bounds[name].equal if name in self.bounds else None


def _holds_for_keys(condition: Condition, key: Collection[str]) -> bool:
    return isinstance(condition, Not) and isinstance(condition.of, IsNull) and condition.of.attribute in key


def _contradicts(conditions: Iterable[Condition], bounds: Mapping[str, Bounds], key: Collection[str]) -> bool:
    if any(of.equal == () for of in bounds.values()):
        return True
    return any(isinstance(one, IsNull) and one.attribute in key for one in conditions)


def _cost(plan: Plan) -> tuple[int, ...]:
    """Fewer rows first: less is left open by the key; then no sorting, then no second layout."""
    return (
        _COST[plan.access],
        -len(_written(plan.layout.row, plan.equal)),
        -len(plan.equal),
        _openness(plan.within),
        _ARRANGED[plan.arranged],
        bool(plan.missing),
    )


def _openness(within: Within | None) -> int:
    if within is None:
        return 3
    if within.begins is not None:
        return 1
    return 2 if within.low is None or within.high is None else 0


def _plan(asked: _Asked, layout: Layout) -> Plan:
    equal = _leading(layout.row, asked)
    combined = [] if asked.nothing else _combinations(equal, asked)
    within = _within(layout.row, equal, asked.bounds)
    rest = _rest(layout.row, equal, within, asked.conditions)
    single = [name for name in equal if len(asked.values(name) or ()) == 1]
    plan = Plan(
        layout=layout, access="nothing", equal=equal, within=within, rest=rest, missing=_missing(asked, rest, layout)
    )
    if not combined:
        return plan
    if len(equal) == len(layout.relation.key):
        keys = tuple(key for key in combined if _is_possible(layout, key))
        return replace(plan, access="points", keys=keys, arranged=of_points(asked.select.order, layout, single))
    found = [span for key in combined if (span := _span(layout, key, within)) is not None]
    spans = apart(found)
    way, reverse = of_ranges(
        asked.select.order, layout, single, equal if len(spans) == len(found) <= MOST_MERGED else ()
    )
    access: Access = "ranges" if equal or within is not None else "full scan"
    return replace(plan, access=access, spans=spans, arranged=way, reverse=reverse)


def _leading(parts: Sequence[CompiledPart], asked: _Asked) -> tuple[str, ...]:
    """The attributes of leading parts of which the values are known, as long as there are not too many together."""
    known: list[str] = []
    for part in parts:
        more = [name for name in names_of(part) if name not in known]
        counts = [len(values) for name in (*known, *more) if (values := asked.values(name)) is not None]
        if len(counts) < len(known) + len(more) or prod(counts) > MOST_COMBINED:
            break
        known += more
    return tuple(known)


def _combinations(names: Sequence[str], asked: _Asked) -> list[Row]:
    return [dict(zip(names, values, strict=True)) for values in product(*(asked.values(name) or () for name in names))]


def _within(parts: Sequence[CompiledPart], equal: Collection[str], bounds: Mapping[str, Bounds]) -> Within | None:
    """What is known of the part behind the leading ones; a value that no row can have there is no limit."""
    known = following(parts, equal)
    part = parts[known] if known < len(parts) else None
    if part is None or part.attribute is None or part.attribute not in bounds:
        return None
    name, said = part.attribute, bounds[part.attribute]
    low = said.low if part.ordered and _is_writable(part, said.low) else None
    high = said.high if part.ordered and _is_writable(part, said.high) else None
    if part.prefixed and said.begins and (low is None or high is None):
        return Within(attribute=name, begins=said.begins)
    if low is None and high is None:
        return None
    return Within(attribute=name, low=low, high=high, low_open=said.low_open, high_open=said.high_open)


def _rest(
    parts: Sequence[CompiledPart], equal: Collection[str], within: Within | None, conditions: Sequence[Condition]
) -> tuple[Condition, ...]:
    """The conditions that rows in the spans may not meet."""
    written = _written(parts, equal)
    return tuple(one for one in conditions if not _is_met(one, written, within))


def _written(parts: Sequence[CompiledPart], equal: Collection[str]) -> set[str]:
    """The attributes in `equal` that leading parts hold as they are, not only as a hash."""
    return {part.attribute for part in parts[: following(parts, equal)] if part.attribute is not None}


def _is_met(condition: Condition, written: Collection[str], within: Within | None) -> bool:
    if not isinstance(condition, Comparison | OneOf | Like):
        return False
    if condition.attribute in written:
        return True
    if within is None or within.attribute != condition.attribute or not isinstance(condition, Comparison):
        return False
    side = {">": within.low, ">=": within.low, "<": within.high, "<=": within.high}
    return side.get(condition.operator) is not None


def _missing(asked: _Asked, rest: Sequence[Condition], layout: Layout) -> tuple[str, ...]:
    wanted = needed(asked.select, rest)
    return tuple(name for name in layout.relation.names if name in wanted and name not in layout.attributes)


def _is_possible(layout: Layout, key: Row) -> bool:
    """Whether a row can have this key: it is not too long, holds no separator, …"""
    try:
        layout.key(key)
    except InvalidInput:
        return False
    return True


def _is_writable(part: CompiledPart, value: object) -> bool:
    if value is None:
        return False
    try:
        part.write(value)
    except InvalidInput:
        return False
    return True


def _span(layout: Layout, equal: Row, within: Within | None) -> Span | None:
    """None: no row can have these values."""
    try:
        found = layout.span(equal, within)
    except InvalidInput:
        return None
    return found if found.stop is None or found.start < found.stop else None
