"""Expressions: what they compute, column by column, and what they refuse."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaname.errors import InvalidInput
from kaname.features.types import Type
from kaname.features.views.columns import column_of, kind_of, values_of
from kaname.features.views.expressions import compile_expression
from kaname.features.views.types import Column, Columns

VECTOR = Type("vector", item="float32", length=2)
TYPES = {
    "a": Type("int64"), "x": Type("float64"), "d": Type("decimal", precision=9, scale=2), "b": Type("bool"),
    "s": Type("string"), "t": Type("timestamp"), "day": Type("date"), "v": VECTOR, "w": VECTOR, "j": Type("json"),
}  # fmt: skip
ROWS: dict[str, list[object]] = {
    "a": [4, None, -1], "x": [0.5, 2.0, None], "d": [Decimal("1.50"), None, Decimal(2)], "b": [True, False, None],
    "s": ["Tea", None, "ham"],
    "t": [datetime(2026, 1, 31, 23, 59, 58, tzinfo=UTC), None, datetime(1969, 12, 31, 12, tzinfo=UTC)],
    "day": [date(2026, 1, 31), None, date(1970, 1, 1)], "v": [(1.0, 2.0), None, (0.0, 1.0)],
    "w": [(3.0, 4.0), (1.0, 1.0), (5.0, 6.0)], "j": [{"a": 1}, None, []],
}  # fmt: skip
KINDS = {name: kind_of(of) for name, of in TYPES.items()}
COLUMNS: Columns = {name: column_of(values, TYPES[name]) for name, values in ROWS.items()}

CASES: dict[str, list[object]] = {
    "a + 1": [5.0, None, 0.0],
    "-a * 2 ** 3 - 1": [-33.0, None, 7.0],
    "a // 3 + a % 3": [2.0, None, 1.0],
    "a / 0": [None, None, None],
    "a // 0": [None, None, None],
    "a % 0": [None, None, None],
    "(a - 4) ** -1": [None, None, -0.2],
    "log(a - 4)": [None, None, None],
    "log1p(a)": [round(math.log1p(4), 12), None, None],
    "exp(a * 1000)": [None, None, 0.0],
    "a * 1e308 * 10": [None, None, None],
    "a / 0 > 1 or log(x - 0.5) < 0": [False, False, False],
    "coalesce(1 / (a - 4), 7)": [7.0, 7.0, -0.2],
    "d * 2": [3.0, None, 4.0],
    "sqrt(a)": [2.0, None, None],
    "log(exp(x))": [0.5, 2.0, None],
    "min(a, x, 1) + max(a, x)": [4.5, None, None],
    "clip(a, 0, 2)": [2.0, None, 0.0],
    "a > x": [True, False, False],
    "0 < a <= 4": [True, False, False],
    "not (a > x) or b": [True, True, True],
    "b and a > 0": [True, False, False],
    "(a > 0) * 2": [2.0, 0.0, 0.0],
    "s == 'Tea'": [True, False, False],
    "s != 'Tea'": [False, True, True],
    "s in ('ham', 'Tea')": [True, False, True],
    "a not in [4, 5]": [False, True, True],
    "lower(s)": ["tea", None, "ham"],
    "length(s)": [3.0, None, 3.0],
    "'old' if a > 3 else s": ["old", None, "ham"],
    "where(is_null(x), 0, x)": [0.5, 2.0, 0.0],
    "coalesce(x, a, 7)": [0.5, 2.0, -1.0],
    "coalesce(s, 'none')": ["Tea", "none", "ham"],
    "is_null(j)": [False, True, False],
    "is_null(v) or is_null(t)": [False, True, False],
    "dot(v, w)": [11.0, None, 6.0],
    "(t - day) / 3600": [round(23 + 59 / 60 + 58 / 3600, 12), None, -12.0],
    "t > day": [True, False, False],
    "hour(t) * 100 + minute(t)": [2359.0, None, 1200.0],
    "year(t) * 10000 + month(t) * 100 + day(t)": [20260131.0, None, 19691231.0],
    "weekday(t)": [5.0, None, 2.0],
    "coalesce(t, day)": [ROWS["t"][0], None, ROWS["t"][2]],
    "True if a > 1 else b > 0": [True, False, False],
}


def rounded(column: Column) -> list[object]:
    """The values of a column without the last digits."""
    return [round(value, 12) if isinstance(value, float) else value for value in values_of(column)]


@pytest.mark.parametrize("text", CASES)
def test_an_expression_computes_a_column(text: str) -> None:
    """Null goes through calculations and makes comparisons false; each row alone gives what all give together."""
    found = compile_expression(text, KINDS)
    assert rounded(found.compute(COLUMNS)) == CASES[text]
    for i, expected in enumerate(CASES[text]):
        alone = {name: column[i : i + 1] for name, column in COLUMNS.items()}
        assert rounded(found.compute(alone)) == [expected]


REFUSED = {
    "": "not an expression",
    "1 + 2": "an expression of no column",
    "a +": "not an expression",
    "a = 1": "not an expression",
    "z": "no such column before this one; found `z`; expected one of a, x",
    "a.real": "not part of this language; found `a.real`",
    "a[0]": "not part of this language",
    "__import__('os')": "no such function; found `__import__",
    "(lambda: a)()": "not part of this language",
    "[a for a in s]": "not part of this language",
    "abs(a, x)": r"abs has other arguments; found `abs\(a, x\)`; expected abs\(number\)",
    "min(a)": r"min\(number, number, …\)",
    "abs(x=a)": "not part of this language",
    "a + s": "a text is not a number here; found `a \\+ s`",
    "t + 1": "a time is not a number here",
    "s < 'a'": "texts have no order here",
    "s == 1": "a text is not a number here",
    "a is x": "not a comparison of this language",
    "s in ()": "not a list of constants",
    "s in s": "not a list of constants",
    "where(a > 1, s, 1)": "values of different kinds",
    "coalesce(s, 1)": "values of different kinds",
    "hour(a)": r"hour is not for values of this kind \(number\)",
    "dot(v, a)": "dot is not for values",
    "v": "not a value that an expression can have; found vector",
    "j": "not a value that an expression can have; found other",
    "a + 1j": "not a constant of this language",
    "a + None": "not a constant of this language",
    "a if s else x": "a text is not a number here",
    "a & 1": "not part of this language",
    "~a": "not part of this language",
    "(" * 300 + "a" + ")" * 300: "not an expression",
    "a" + " + a" * 500: "too long an expression",
    "a + \0": "not an expression",
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:20])
def test_what_is_no_expression_is_refused(text: str) -> None:
    """When the view is loaded, not when it is read; nothing of Python but arithmetic can be reached."""
    with pytest.raises(InvalidInput, match=REFUSED[text]):
        compile_expression(text, KINDS)


@given(st.lists(st.none() | st.floats(allow_nan=False), min_size=1, max_size=8))
def test_values_come_back_from_their_columns(values: list[float | None]) -> None:
    """Also those that no arithmetic is for."""
    assert values_of(column_of(values, Type("float64"))) == values
    for name, rows in ROWS.items():
        if name not in ("a", "b", "d", "day"):  # numbers come back as float, dates as times
            assert values_of(column_of(rows, TYPES[name])) == rows


def test_columns_of_numbers_are_float64_and_times_are_utc() -> None:
    """What the project's own functions are given."""
    kinds = {name: column.dtype for name, column in COLUMNS.items()}
    assert {kinds[name] for name in ("a", "x", "d", "b", "v")} == {np.dtype("float64")}
    assert kinds["t"] == kinds["day"] == np.dtype("datetime64[us]")
    assert values_of(COLUMNS["b"]) == [1.0, 0.0, None]
    assert COLUMNS["v"].shape == (3, 2)
