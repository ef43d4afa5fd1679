"""Draws relations with several layouts, rows and queries, each query as SQL and as functions of Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import strategies as st

from kaname.features.sql.conditions import value_shown

Row = dict[str, Any]
Holds = Callable[[Row], bool | None]

POOLS: dict[str, Sequence[Any]] = {
    "string": ["", "a", "ab", "abc", "b", "B", "é", "a%b", "_", "it's"],
    "bytes": [b"", b"a", b"a\xff", b"\xff", b"b"],
    "bool": [False, True],
    "int32": [-(1 << 31), -1, 0, 1, 7, (1 << 31) - 1],
    "int64": [-(1 << 63), -2, 0, 3, (1 << 63) - 1],
    "float32": [-1.5, 0.0, 0.25, 3.0],
    "float64": [float("-inf"), -2.5, 0.0, 0.1, 1e300],
    "decimal(5, 2)": [Decimal("-999.99"), Decimal("0.00"), Decimal("0.01"), Decimal("12.30")],
    "timestamp": [datetime(1969, 12, 31, tzinfo=UTC), datetime(2026, 1, 1, 0, 0, 0, 1, UTC)],
    "date": [date(1, 1, 1), date(1970, 1, 1), date(2026, 1, 31)],
}  # fmt: skip
"""A few values of each type, so that conditions meet some."""
_BOUNDED = (
    "size{%s}",
    'suffix("\\0"){%s}',
    "suffix(;){%s}",
    "fixed(8){%s}",
    'desc{suffix("\\0"){%s}}',
    "desc{fixed(8){%s}}",
)
_KEYS = [kind for kind in POOLS if kind != "bytes"] + ["string", "string", "int32"]


class Shape(msgspec.Struct, frozen=True):
    """A relation: types by name, and its declaration."""

    key: dict[str, str]
    rest: dict[str, str]
    text: str

    @property
    def types(self) -> dict[str, str]:
        """All attributes."""
        return self.key | self.rest


class Query(msgspec.Struct, frozen=True):
    """A query of a shape, and what it means."""

    where: str
    """Empty: no conditions."""
    holds: Holds
    order: list[tuple[str, bool]]
    limit: int | None
    parameters: list[Any]

    @property
    def tail(self) -> str:
        """All but the columns."""
        order = ", ".join(f"{name}{' DESC' if desc else ''}" for name, desc in self.order)
        parts = [f"WHERE {self.where}" if self.where else "", f"ORDER BY {order}" if order else ""]
        return " ".join([*parts, "" if self.limit is None else f"LIMIT {self.limit}"])


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    """One to three attributes in the key, up to three others, one to three layouts."""
    key = {f"k{i}": draw(st.sampled_from(_KEYS)) for i in range(draw(st.integers(1, 3)))}
    rest = {f"a{i}": draw(st.sampled_from(list(POOLS))) for i in range(draw(st.integers(0, 3)))}
    attributes = [f"{name} {kind} key" for name, kind in key.items()] + [f"{n} {kind}" for n, kind in rest.items()]
    layouts = [draw(_layout(i, key, rest)) for i in range(draw(st.integers(1, 3)))]
    return Shape(key, rest, f"define relation r {{ {', '.join(attributes)} }};\n" + "\n".join(layouts))


@st.composite
def _layout(draw: st.DrawFn, number: int, key: dict[str, str], rest: dict[str, str]) -> str:
    names = draw(st.permutations(list(key)))
    parts = [_part(draw, name, key[name], last=name == names[-1]) for name in names]
    if draw(st.booleans()):
        parts.insert(0, f"hash(1)[{', '.join(draw(st.permutations(names))[: draw(st.integers(1, len(names)))])}]")
    held = [name for name in rest if number == 0 or draw(st.booleans())]
    value = draw(st.sampled_from(["value pack[%s]", "qualifier attr_name[%s], value attr_value[%s]"]))
    value = "value pack[]" if number == 0 or not held else value.replace("%s", ", ".join(held))
    cells = f'table "t{number}", row {":".join(parts)}, family "f", {value}'
    return f'define schema s{number} for r on cells("main") {{ {cells} }};'


def _part(draw: st.DrawFn, name: str, kind: str, *, last: bool) -> str:
    if kind != "string":
        return draw(st.sampled_from(["%s", "desc{%s}", "size{%s}"])) % name
    return draw(st.sampled_from([*_BOUNDED, *(["%s"] if last else [])])) % name


@st.composite
def rows_of(draw: st.DrawFn, shape: Shape) -> list[Row]:
    """Up to 60 rows with keys of their own; many, so that most queries find some."""
    choose = draw(st.randoms(use_true_random=False)).choice
    rows: dict[tuple[Any, ...], Row] = {}
    for _ in range(draw(st.integers(0, 60))):
        row = {name: choose(POOLS[kind]) for name, kind in shape.key.items()}
        if row["k0"] != "":  # a row key is not empty
            row |= {name: choose([None, *POOLS[kind]]) for name, kind in shape.rest.items()}
            rows[tuple(row[name] for name in shape.key)] = row
    return list(rows.values())


@st.composite
def queries(draw: st.DrawFn, shape: Shape) -> Query:
    """Conditions joined by AND, an order, a limit."""
    parameters: list[Any] = []
    some = draw(_like_a_key(shape, parameters)) if draw(st.booleans()) else []
    names = draw(st.permutations([*shape.key, *shape.key, *shape.rest]))[: draw(st.integers(0, 2))]
    some += [draw(_condition(shape, name, parameters, depth=2)) for name in names]
    names = draw(st.permutations(list(shape.types)))
    order = [(name, draw(st.booleans())) for name in names[: draw(st.integers(0, len(names)))]]
    limit = draw(st.none() | st.integers(0, 6))
    return Query(" AND ".join(text for text, _ in some), _all([holds for _, holds in some]), order, limit, parameters)


@st.composite
def _like_a_key(draw: st.DrawFn, shape: Shape, parameters: list[Any]) -> list[tuple[str, Holds]]:
    """Values of some attributes of the key, and a range or prefix of the next one."""
    names = draw(st.permutations(list(shape.key)))
    known = draw(st.integers(0, len(names)))
    some = [draw(_condition(shape, name, parameters, 0, draw(st.sampled_from(["=", "in"])))) for name in names[:known]]
    for name in names[known : known + 1]:
        kinds = ["like"] if shape.types[name] == "string" and draw(st.booleans()) else ["range", "range"]
        some += [draw(_condition(shape, name, parameters, 0, kind)) for kind in kinds]
    return some


@st.composite
def _condition(
    draw: st.DrawFn, shape: Shape, name: str, parameters: list[Any], depth: int, kind: str = ""
) -> tuple[str, Holds]:
    kind = kind or draw(st.sampled_from(["=", "range", "range", "in", "null", "like", "like", "tree"]))
    if kind == "tree" and depth:
        return draw(_tree(shape, parameters, depth))
    if kind == "like" and shape.types[name] == "string":
        return draw(_like(name))
    if kind == "null":
        return f"{name} IS NULL", lambda row: row[name] is None
    pool = st.sampled_from(POOLS[shape.types[name]])
    if kind == "in":
        values = draw(st.lists(pool, min_size=1, max_size=4))
        said = ", ".join(_said(value, parameters) for value in values)
        return f"{name} IN ({said})", _unless_null(name, lambda found: found in values)
    return draw(_compared(name, pool, parameters, kind))


@st.composite
def _compared(
    draw: st.DrawFn, name: str, pool: st.SearchStrategy[Any], parameters: list[Any], kind: str
) -> tuple[str, Holds]:
    value = draw(pool)
    said = _said(value, parameters, as_parameter=draw(st.booleans()))
    match "=" if kind == "=" else draw(st.sampled_from(["<", "<=", ">", ">=", "<>"])):
        case "=":
            return f"{name} = {said}", _unless_null(name, lambda found: found == value)
        case "<":
            return f"{name} < {said}", _unless_null(name, lambda found: found < value)
        case "<=":
            return f"{said} >= {name}", _unless_null(name, lambda found: found <= value)
        case ">":
            return f"{name} > {said}", _unless_null(name, lambda found: found > value)
        case ">=":
            return f"{name} >= {said}", _unless_null(name, lambda found: found >= value)
    return f"{name} <> {said}", _unless_null(name, lambda found: found != value)


@st.composite
def _like(draw: st.DrawFn, name: str) -> tuple[str, Holds]:
    pattern = draw(
        st.sampled_from(["a%", "ab%", "%b", "%b%", "a_", "_", "%", "abc", "a!%%", "", "%a%b%", "é%", "it's%"])
    )
    escape = " ESCAPE '!'" if "!" in pattern else ""
    return f"{name} LIKE {value_shown(pattern)}{escape}", _unless_null(name, lambda found: _matches(pattern, found))


@st.composite
def _tree(draw: st.DrawFn, shape: Shape, parameters: list[Any], depth: int) -> tuple[str, Holds]:
    names = st.sampled_from(list(shape.types))
    left, holds = draw(_condition(shape, draw(names), parameters, depth - 1))
    if draw(st.booleans()):
        return f"NOT ({left})", lambda row: None if (found := holds(row)) is None else not found
    right, other = draw(_condition(shape, draw(names), parameters, depth - 1))
    if draw(st.booleans()):
        return f"({left} AND {right})", _all([holds, other])
    return f"({left} OR {right})", _any([holds, other])


def _said(value: Any, parameters: list[Any], *, as_parameter: bool = False) -> str:
    """A literal or a parameter; no literal is infinite."""
    literal = value_shown(value)
    if as_parameter or "inf" in literal:
        parameters.append(value)
        return "?"
    return literal


def _unless_null(name: str, holds: Callable[[Any], bool]) -> Holds:
    return lambda row: None if row[name] is None else holds(row[name])


def _all(some: list[Holds]) -> Holds:
    def holds(row: Row) -> bool | None:
        found = [one(row) for one in some]
        return False if False in found else None if None in found else True

    return holds


def _any(some: list[Holds]) -> Holds:
    def holds(row: Row) -> bool | None:
        found = [one(row) for one in some]
        return True if True in found else None if None in found else False

    return holds


def _matches(pattern: str, text: str) -> bool:
    """LIKE, character by character; `!` takes the next one as it is."""
    if not pattern:
        return not text
    if pattern[0] == "%":
        return any(_matches(pattern[1:], text[i:]) for i in range(len(text) + 1))
    escaped = pattern[0] == "!"
    wanted, left = (pattern[1], pattern[2:]) if escaped else (pattern[0], pattern[1:])
    return bool(text) and (text[0] == wanted or (wanted == "_" and not escaped)) and _matches(left, text[1:])


def compared(one: Row, two: Row, order: Sequence[tuple[str, bool]]) -> int:
    """Below 0 when `one` comes first; nulls are the greatest."""
    for name, desc in order:
        a, b = one[name], two[name]
        found = (a is None) - (b is None) if a is None or b is None else (a > b) - (a < b)
        if found:
            return -found if desc else found
    return 0
