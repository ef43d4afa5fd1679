"""What a WHERE asks of a row, with values of the types of its attributes; null makes every comparison unknown."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Literal, TypeAlias, cast

import msgspec

from kaname.features.types import Row

Operator: TypeAlias = Literal["=", "<>", "<", "<=", ">", ">="]
Test: TypeAlias = Callable[[Row], bool | None]
"""Whether a row is meant; None: unknown, so not."""


class Comparison(msgspec.Struct, frozen=True):
    """`price > 2.5`; the value is not null."""

    attribute: str
    operator: Operator
    value: object


class OneOf(msgspec.Struct, frozen=True):
    """`item IN ('tea', 'cake')`; no value is null."""

    attribute: str
    values: tuple[object, ...]


class Like(msgspec.Struct, frozen=True):
    """`item LIKE 'te%'`: `%` is any text, `_` any character; behind `escape` they stand for themselves."""

    attribute: str
    pattern: str
    escape: str = ""

    @property
    def begins(self) -> str:
        """What every match begins with."""
        return _like(self.pattern, self.escape)[0]

    @property
    def test(self) -> Callable[[str], object]:
        """Whether a text matches."""
        return _like(self.pattern, self.escape)[1]


class IsNull(msgspec.Struct, frozen=True):
    """`item IS NULL`."""

    attribute: str


class Not(msgspec.Struct, frozen=True):
    """`NOT …`."""

    of: Condition


class All(msgspec.Struct, frozen=True):
    """`… AND …`."""

    of: tuple[Condition, ...]


class Some(msgspec.Struct, frozen=True):
    """`… OR …`."""

    of: tuple[Condition, ...]


Condition: TypeAlias = Comparison | OneOf | Like | IsNull | Not | All | Some

_OPERATORS: dict[Operator, Callable[[object, object], bool]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": cast("Callable[[object, object], bool]", operator.lt),
    "<=": cast("Callable[[object, object], bool]", operator.le),
    ">": cast("Callable[[object, object], bool]", operator.gt),
    ">=": cast("Callable[[object, object], bool]", operator.ge),
}


def parts_of(condition: Condition | None) -> list[Condition]:
    """The conditions all of which must hold."""
    if condition is None:
        return []
    if isinstance(condition, All):
        return [part for inner in condition.of for part in parts_of(inner)]
    return [condition]


def attributes_of(condition: Condition) -> Iterator[str]:
    """The attributes that it looks at."""
    if isinstance(condition, Not):
        yield from attributes_of(condition.of)
    elif isinstance(condition, All | Some):
        for inner in condition.of:
            yield from attributes_of(inner)
    else:
        yield condition.attribute


def test_of(condition: Condition) -> Test:
    """The condition as a function."""
    match condition:
        case Comparison():
            return _comparison(condition.attribute, _OPERATORS[condition.operator], condition.value)
        case OneOf():
            return _one_of(condition.attribute, condition.values)
        case Like():
            return _matching(condition)
        case IsNull():
            name = condition.attribute
            return lambda row: row[name] is None
        case Not():
            return _not(test_of(condition.of))
        case All():
            return _decided([test_of(inner) for inner in condition.of], by=False)
    return _decided([test_of(inner) for inner in condition.of], by=True)


def shown(condition: Condition) -> str:
    """The condition as SQL, for people."""
    match condition:
        case Comparison():
            return f"{condition.attribute} {condition.operator} {value_shown(condition.value)}"
        case OneOf():
            return f"{condition.attribute} IN ({', '.join(map(value_shown, condition.values))})"
        case Like():
            escape = f" ESCAPE {value_shown(condition.escape)}" if condition.escape else ""
            return f"{condition.attribute} LIKE {value_shown(condition.pattern)}{escape}"
        case IsNull():
            return f"{condition.attribute} IS NULL"
        case Not():
            return f"NOT ({shown(condition.of)})"
    return f" {'AND' if isinstance(condition, All) else 'OR'} ".join(f"({shown(inner)})" for inner in condition.of)


def value_shown(value: object) -> str:
    """A value as a literal."""
    match value:
        case str():
            return "'" + value.replace("'", "''") + "'"
        case bytes():
            return f"X'{value.hex()}'"
        case bool():
            return str(value).upper()
        case datetime():
            return f"TIMESTAMP '{value.isoformat().replace('+00:00', 'Z')}'"
        case date():
            return f"DATE '{value}'"
        case Decimal():
            return f"{value:f}"
    return repr(value)


def _comparison(name: str, compare: Callable[[object, object], bool], value: object) -> Test:
    def test(row: Row) -> bool | None:
        found = row[name]
        return None if found is None else compare(found, value)

    return test


def _one_of(name: str, values: tuple[object, ...]) -> Test:
    wanted = frozenset(value for value in values if value == value)

    def test(row: Row) -> bool | None:
        found = row[name]
        return None if found is None else found in wanted and found == found

    return test


def _matching(like: Like) -> Test:
    name, matches = like.attribute, like.test

    def test(row: Row) -> bool | None:
        found = row[name]
        return None if found is None else bool(matches(cast("str", found)))

    return test


def _not(inner: Test) -> Test:
    def test(row: Row) -> bool | None:
        found = inner(row)
        return None if found is None else not found

    return test


def _decided(tests: list[Test], *, by: bool) -> Test:
    """One that is `by` decides; else one that is unknown."""

    def test(row: Row) -> bool | None:
        found: bool | None = not by
        for inner in tests:
            one = inner(row)
            if one is by:
                return by
            if one is None:
                found = None
        return found

    return test


@lru_cache(1024)
def _like(pattern: str, escape: str) -> tuple[str, Callable[[str], bool]]:
    """What matches begin with, and the test."""
    pieces: list[str] = [""]
    begins, plain, characters = "", True, iter(pattern)
    for character in characters:
        if character == escape:
            character = next(characters)
        elif character in "%_":
            plain = False
            if character == "%":
                pieces.append("")
            else:
                pieces[-1] += "."
            continue
        begins += character if plain else ""
        pieces[-1] += re.escape(character)
    return begins, _found([re.compile(piece, re.DOTALL) for piece in pieces])


def _found(pieces: list[re.Pattern[str]]) -> Callable[[str], bool]:
    """Whether a text is these pieces in their order with anything between them; each is taken where it is first
    found, so that no pattern takes longer than its length times that of the text."""
    first, *middle, last = [*pieces, pieces[-1]] if len(pieces) == 1 else pieces
    if len(pieces) == 1:
        return lambda text: first.fullmatch(text) is not None

    def test(text: str) -> bool:
        found = first.match(text)
        for piece in middle:
            found = found and piece.search(text, found.end())
        return found is not None and _ends(last, text, found.end())

    return test


def _ends(last: re.Pattern[str], text: str, start: int) -> bool:
    at = len(text) - _width(last)
    return at >= start and last.match(text, at) is not None


@lru_cache(1024)
def _width(piece: re.Pattern[str]) -> int:
    """Characters that a piece matches: all of them are single ones."""
    return len(re.sub(r"\\.", ".", piece.pattern, flags=re.DOTALL))
