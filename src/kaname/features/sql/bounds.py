"""What the conditions of a query say of each attribute alone: the values it may have, between which, how they begin."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import cast

import msgspec

from kaname.features.sql.conditions import Comparison, Condition, Like, OneOf, test_of

_after = cast("Callable[[object, object], bool]", operator.gt)


class Bounds(msgspec.Struct):
    """Of one attribute; None: nothing is said."""

    equal: tuple[object, ...] | None = None
    """One of these, each once, in no order; empty: none, so that there is no such row."""
    low: object = None
    high: object = None
    low_open: bool = False
    high_open: bool = False
    begins: str = ""


def bounds_of(conditions: Sequence[Condition]) -> dict[str, Bounds]:
    """The bounds by attribute, of conditions that must all hold."""
    found: dict[str, Bounds] = {}
    for one in conditions:
        if isinstance(one, Comparison | OneOf | Like):
            _narrow(found.setdefault(one.attribute, Bounds()), one)
    for name, bounds in found.items():
        if bounds.equal is not None:
            tests = [test_of(one) for one in conditions if _is_about(one, name)]
            bounds.equal = tuple(v for v in bounds.equal if all(test({name: v}) for test in tests))
    return found


def _is_about(condition: Condition, name: str) -> bool:
    return isinstance(condition, Comparison | OneOf | Like) and condition.attribute == name


def _narrow(bounds: Bounds, condition: Comparison | OneOf | Like) -> None:
    if isinstance(condition, OneOf):
        _equal(bounds, condition.values)
    elif isinstance(condition, Like):
        if condition.begins == condition.pattern:
            _equal(bounds, (condition.begins,))
        elif len(condition.begins) > len(bounds.begins):
            bounds.begins = condition.begins
    elif condition.operator == "=":
        _equal(bounds, (condition.value,))
    elif condition.operator in (">", ">="):
        _low(bounds, condition.value, opened=condition.operator == ">")
    elif condition.operator in ("<", "<="):
        _high(bounds, condition.value, opened=condition.operator == "<")


def _equal(bounds: Bounds, values: Sequence[object]) -> None:
    kept = tuple(dict.fromkeys(values))
    if bounds.equal is None or len(kept) < len(bounds.equal):
        bounds.equal = kept


def _low(bounds: Bounds, value: object, *, opened: bool) -> None:
    if bounds.low is None or _after(value, bounds.low) or (value == bounds.low and opened):
        bounds.low, bounds.low_open = value, opened


def _high(bounds: Bounds, value: object, *, opened: bool) -> None:
    if bounds.high is None or _after(bounds.high, value) or (value == bounds.high and opened):
        bounds.high, bounds.high_open = value, opened
