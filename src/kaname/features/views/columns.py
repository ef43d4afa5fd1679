"""Values of one attribute as a column that numpy computes with, and back.

| types | column | null |
|---|---|---|
| numbers, decimal, bool | float64 | NaN |
| string, bytes, json | objects | None |
| timestamp, date | datetime64[us], UTC | NaT |
| vector | float64, one row per value | a row of NaN |

A computed bool is a column of bool. Whole numbers beyond 2^53 are rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import Any

import numpy as np

from kaname.features.types import Type
from kaname.features.views.types import Column, Kind

_KINDS: dict[str, Kind] = {"string": "text", "timestamp": "time", "date": "time", "vector": "vector"}
_OTHERS = ("bytes", "json")
MICROSECONDS = np.dtype("datetime64[us]")


def kind_of(of: Type) -> Kind:
    """What can be computed with values of a type."""
    return "other" if of.name in _OTHERS else _KINDS.get(of.name, "number")


def column_of(values: Sequence[Any], of: Type) -> Column:
    """Values of attributes of type `of`, None for null, as a column."""
    kind = kind_of(of)
    if kind == "number":
        return np.array(values, dtype=np.float64)  # None becomes NaN
    if kind == "time":
        return np.array([_naive(value) for value in values], dtype=MICROSECONDS)
    if kind == "vector":
        blank = (np.nan,) * of.length
        rows = [blank if value is None else value for value in values]
        return np.array(rows, dtype=np.float64).reshape(len(rows), of.length)
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def values_of(column: Column) -> list[Any]:
    """The values of a column: float, bool, str, datetime in UTC, tuple of float; None for null."""
    if column.dtype.kind == "f":
        if column.ndim == 2:
            return [None if np.isnan(row).all() else tuple(row.tolist()) for row in column]
        return [None if value != value else value for value in column.tolist()]
    if column.dtype.kind == "M":
        return [None if value is None else value.replace(tzinfo=UTC) for value in column.tolist()]
    return column.tolist()  # type: ignore[no-any-return]  # one dimension gives a list


def _naive(value: date | None) -> date | None:
    return value.astimezone(UTC).replace(tzinfo=None) if isinstance(value, datetime) else value


def finite(numbers: Column) -> Column:
    """Numbers with null in the place of infinities, which JSON does not have: they are what could not be computed."""
    found: Column = numbers + (numbers - numbers)  # twice as fast as to ask and to choose
    return found


def is_null(column: Column) -> Column:
    """Where a column is null."""
    if column.dtype.kind == "f":
        unknown = np.isnan(column)
        return unknown if column.ndim < 2 else np.all(unknown, axis=1)
    if column.dtype.kind == "M":
        return np.isnat(column)
    if column.dtype.kind == "O":
        return np.asarray(column == None, dtype=bool)  # noqa: E711  (element by element)
    return np.zeros(column.shape, dtype=bool)


def _finite_numbers(found: Column) -> Column:
    with np.errstate(invalid="ignore"):
        return finite(found)


CHECKS: dict[Kind, Callable[[Column], Column]] = {
    "number": lambda found: _finite_numbers(found.astype(np.float64)),
    "bool": lambda found: found.astype(bool),
    "text": lambda found: column_of(
        [None if value is None else str(value) for value in found.tolist()], Type("string")
    ),
    "time": lambda found: found.astype(MICROSECONDS),
}
"""What somebody's code returned as a column of a kind; raises TypeError or ValueError where it is none."""
