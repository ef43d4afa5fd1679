"""The functions of expressions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np

from kaname.features.views.columns import finite, is_null
from kaname.features.views.types import Column, Kind

Wanted: TypeAlias = Kind | Literal["any"]
MANY = 20


class Function(msgspec.Struct, frozen=True):
    """What may be called; an argument or a result of `any` kind is of the same kind as all others of that kind."""

    result: Wanted
    takes: tuple[Wanted, ...]
    work: Callable[..., Any]
    repeated: bool = False
    """The last argument may come again and again."""

    @property
    def arguments(self) -> tuple[int, int]:
        """The least and the most of them."""
        return len(self.takes), MANY if self.repeated else len(self.takes)

    def kinds(self, count: int) -> tuple[Wanted, ...]:
        """The kinds of so many arguments."""
        return self.takes + self.takes[-1:] * (count - len(self.takes))

    def shown(self, name: str) -> str:
        """How it is called."""
        return f"{name}({', '.join(self.takes)}{', …' if self.repeated else ''})"


def _with_null(part: Callable[[Column], Column]) -> Callable[[Column], Column]:
    """A part of a time as a number, NaN where there is no time."""

    def found(times: Column) -> Column:
        return np.where(np.isnat(times), np.nan, part(times))

    return found


def _seconds_of_day(times: Column) -> Any:
    return (times - times.astype("datetime64[D]")).astype(np.int64) // 1_000_000


def _days_of_month(times: Column) -> Any:
    return (times.astype("datetime64[D]") - times.astype("datetime64[M]")).astype(np.int64) + 1


def _extreme(work: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def extreme(first: Any, *others: Any) -> Any:
        for other in others:
            first = work(first, other)
        return first

    return extreme


def _coalesce(first: Any, *others: Any) -> Any:
    """The first that is not null."""
    for other in others:
        first = np.where(is_null(np.asarray(first)), other, first)
    return first


def _lower(texts: Any) -> Any:
    return _each(texts, str.lower, object)


def _length(texts: Any) -> Any:
    return _each(texts, len, np.float64)


def _each(texts: Any, work: Callable[[str], Any], dtype: Any) -> Any:
    found = [None if text is None else work(text) for text in np.atleast_1d(texts).tolist()]
    out = np.empty(len(found), dtype=dtype)
    out[:] = found
    return out


def _weekday(times: Column) -> Column:
    """Monday is 0; day 0 of the calendar was a Thursday."""
    return (times.astype("datetime64[D]").astype(np.int64) + 3) % 7


FUNCTIONS: dict[str, Function] = {
    "abs": Function("number", ("number",), np.abs),
    "sqrt": Function("number", ("number",), np.sqrt),
    "exp": Function("number", ("number",), lambda x: finite(np.exp(x))),
    "log": Function("number", ("number",), lambda x: finite(np.log(x))),
    "log1p": Function("number", ("number",), lambda x: finite(np.log1p(x))),
    "floor": Function("number", ("number",), np.floor),
    "ceil": Function("number", ("number",), np.ceil),
    "round": Function("number", ("number",), np.round),
    "sin": Function("number", ("number",), np.sin),
    "cos": Function("number", ("number",), np.cos),
    "min": Function("number", ("number", "number"), _extreme(np.minimum), repeated=True),
    "max": Function("number", ("number", "number"), _extreme(np.maximum), repeated=True),
    "clip": Function("number", ("number", "number", "number"), np.clip),
    "where": Function("any", ("bool", "any", "any"), np.where),
    "coalesce": Function("any", ("any", "any"), _coalesce, repeated=True),
    "is_null": Function("bool", ("any",), is_null),
    "lower": Function("text", ("text",), _lower),
    "length": Function("number", ("text",), _length),
    "dot": Function("number", ("vector", "vector"), lambda one, other: np.einsum("ij,ij->i", one, other)),
    "year": Function("number", ("time",), _with_null(lambda t: t.astype("datetime64[Y]").astype(np.int64) + 1970)),
    "month": Function("number", ("time",), _with_null(lambda t: t.astype("datetime64[M]").astype(np.int64) % 12 + 1)),
    "day": Function("number", ("time",), _with_null(_days_of_month)),
    "weekday": Function("number", ("time",), _with_null(_weekday)),
    "hour": Function("number", ("time",), _with_null(lambda t: _seconds_of_day(t) // 3600)),
    "minute": Function("number", ("time",), _with_null(lambda t: _seconds_of_day(t) // 60 % 60)),
}
