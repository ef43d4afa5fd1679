"""The order of an answer: whether a layout has it already, and how rows are sorted where it has not."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeAlias

from kaname.errors import TooLarge
from kaname.features.layout import Layout
from kaname.features.sql.plans import Arranged
from kaname.features.sql.statements import Sorted
from kaname.features.types import Row

MOST_SORTED = 100_000
"""Rows that are held to sort them."""

_Key: TypeAlias = Callable[[Row], list[tuple[Any, ...]]]


def of_ranges(
    order: Sequence[Sorted], layout: Layout, single: Collection[str], each: Collection[str]
) -> tuple[Arranged, bool]:
    """Where the order of rows in ranges comes from, and whether these are read from their ends.

    `single`: attributes with one value in all of them; `each`: with one in each of them (empty: nothing is known).
    """
    whole = _direction(order, layout, single)
    if whole is not None:
        return "as stored", whole
    part = _direction(order, layout, each) if each else None
    return ("sorted", False) if part is None else ("merged", part)


def of_points(order: Sequence[Sorted], layout: Layout, single: Collection[str]) -> Arranged:
    """The same for rows that are read by their keys."""
    return "sorted" if _left(order, layout, single) else "as stored"


def merged(rows: Iterable[Iterator[Row]], order: Sequence[Sorted]) -> Iterator[Row]:
    """Rows that come in order from each, all in order."""
    return heapq.merge(*rows, key=_key_of(order))


def in_order(rows: Iterable[Row], order: Sequence[Sorted], limit: int | None) -> list[Row]:
    """The first rows in order. Raises TooLarge where too many have to be held."""
    if limit is not None and limit <= MOST_SORTED:
        return heapq.nsmallest(limit, rows, _key_of(order))
    held = list(islice(rows, MOST_SORTED + 1))
    if len(held) > MOST_SORTED:
        raise TooLarge(
            "no layout has this order, and the rows are too many to sort",
            where="query",
            found=f"more than {MOST_SORTED}",
            expected=f"a LIMIT of at most {MOST_SORTED}, the order of a layout, or none",
        )
    return sorted(held, key=_key_of(order))


def _left(order: Sequence[Sorted], layout: Layout, constant: Collection[str]) -> list[tuple[str, bool]]:
    """What is left to sort by among rows that have one value of each attribute in `constant`."""
    key, seen = {attribute.name for attribute in layout.relation.key}, set(constant)
    left: list[tuple[str, bool]] = []
    for part in order:
        if key <= seen:
            break
        if part.attribute not in seen:
            left.append((part.attribute, part.desc))
            seen.add(part.attribute)
    return left


def _direction(order: Sequence[Sorted], layout: Layout, constant: Collection[str]) -> bool | None:
    """Whether rows come in order when read from the last to the first (True) or as they are stored (False)."""
    left = _left(order, layout, constant)
    stored = layout.sorted_by(constant)[: len(left)]
    if left == stored:
        return False
    return True if left == [(name, not desc) for name, desc in stored] else None


def _key_of(order: Sequence[Sorted]) -> _Key:
    return lambda row: [_place(part, row[part.attribute]) for part in order]


def _place(part: Sorted, value: object) -> tuple[Any, ...]:
    """Sorts like a value: nulls where they are asked for, NaN as the greatest number."""
    if value is None:
        return (-1 if part.nulls_first else 1,)
    not_a_number = value != value
    return (0, not not_a_number, _Down(value)) if part.desc else (0, not_a_number, value)


class _Down:
    """Sorts the other way round."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __lt__(self, other: _Down) -> bool:
        return bool(other.value < self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Down) and bool(other.value == self.value)
