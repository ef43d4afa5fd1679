"""Draws schemas of every kind with rows that they can hold."""

from __future__ import annotations

from datetime import UTC
from decimal import Context, Decimal

import msgspec
from hypothesis import strategies as st

from kaname.features.layout import Layout
from kaname.features.schemas import schemas_in
from kaname.storage.cells.types import Cell, Cells, Mutation, Put

Values = st.SearchStrategy[object]
Rows = st.SearchStrategy[dict[str, object]]

_TEXT = st.text(st.characters(exclude_characters=",\0\x1f", exclude_categories=["Cs"]), max_size=12)
"""What every separator and every `fixed` below can take."""
_LONG = {"string": _TEXT, "bytes": st.binary(max_size=12).map(lambda b: b.translate(None, b",\0\x1f"))}
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=6,
)
_SUFFIXES = ("suffix(,)", 'suffix("\\0")', 'suffix("\\x1f,")')
_EXACT = Context(prec=80)
KEY_TYPES = ("string", "bytes", "bool", "int32", "int64", "float32", "float64", "decimal", "timestamp", "date")


def values_of(kind: str) -> Values:
    """Values of a type as a schema file writes it."""
    if kind.startswith("decimal"):
        precision, scale = map(int, kind[8:-1].split(", "))
        limit = 10**precision - 1
        return st.integers(-limit, limit).map(lambda whole: Decimal(whole).scaleb(-scale, _EXACT))
    if kind.startswith("vector"):
        item, length = kind[7:-1].split(", ")
        return st.lists(values_of(item), min_size=int(length), max_size=int(length)).map(tuple)
    plain: dict[str, Values] = {
        **_LONG,
        "bool": st.booleans(),
        "int32": st.integers(-(1 << 31), (1 << 31) - 1),
        "int64": st.integers(-(1 << 63), (1 << 63) - 1),
        "float32": st.floats(allow_nan=False, width=32),
        "float64": st.floats(allow_nan=False),
        "timestamp": st.datetimes(timezones=st.just(UTC)),
        "date": st.dates(),
        "json": _JSON.filter(lambda value: value is not None),
    }
    return plain[kind]


class Example(msgspec.Struct, frozen=True):
    """One generated layout."""

    text: str
    layout: Layout
    rows: Rows


@st.composite
def types(draw: st.DrawFn, *, key: bool) -> str:
    """A type as a schema file writes it."""
    kind = draw(st.sampled_from(KEY_TYPES if key else (*KEY_TYPES, "json", "vector")))
    if kind == "decimal":
        precision = draw(st.integers(1, 38))
        return f"decimal({precision}, {draw(st.integers(0, precision))})"
    if kind == "vector":
        return f"vector<{draw(st.sampled_from(['float32', 'float64', 'int32', 'int64']))}, {draw(st.integers(1, 5))}>"
    return kind


@st.composite
def examples(draw: st.DrawFn) -> Example:
    """A relation of one to three key attributes and up to seven others, with one layout."""
    key = {f"k{i}": draw(types(key=True)) for i in range(draw(st.integers(1, 3)))}
    rest = {f"a{i}": draw(types(key=False)) for i in range(draw(st.integers(0, 7)))}
    fixed: dict[str, str] = {}
    row = draw(_row(key, fixed))
    groups, never_null = draw(_groups(rest))
    attributes = [f"{name} {kind} key" for name, kind in key.items()] + [f"{n} {kind}" for n, kind in rest.items()]
    text = (
        f"define relation r {{ {', '.join(attributes)} }};\n"
        f'define schema s for r on cells("main") {{ table "t", row {row}, {groups} }};'
    )
    values = {name: values_of(kind) for name, kind in (key | rest).items()}
    for name, kind in fixed.items():
        values[name] = st.binary(min_size=48, max_size=48) if kind == "bytes" else _TEXT
    for name in rest.keys() - never_null:
        values[name] = st.none() | values[name]
    return Example(text, schemas_in(text).layouts["r"][0], st.fixed_dictionaries(values).filter(_has_key))


def _has_key(row: dict[str, object]) -> bool:
    """Some store's row keys may not be empty; `k0` of text could be, alone."""
    return row["k0"] not in ("", b"")


@st.composite
def _row(draw: st.DrawFn, key: dict[str, str], fixed: dict[str, str]) -> str:
    names = draw(st.permutations(list(key)))
    parts = [draw(_part(name, key[name], fixed, last=name == names[-1])) for name in names]
    if draw(st.booleans()):
        parts.insert(0, f"hash({draw(st.integers(1, 32))})[{', '.join(names[: draw(st.integers(1, len(names)))])}]")
    return ":".join(parts)


@st.composite
def _part(draw: st.DrawFn, name: str, kind: str, fixed: dict[str, str], *, last: bool) -> str:
    if kind not in _LONG:
        return draw(st.sampled_from([name, f"size{{{name}}}", f"desc{{{name}}}"]))
    around = ["size{%s}", "fixed(48){%s}", "desc{fixed(48){%s}}", 'desc{suffix("\\0"){%s}}']
    around += [f"{suffix}{{%s}}" for suffix in _SUFFIXES] + (["%s"] if last else [])
    part = draw(st.sampled_from(around)) % name
    if "fixed" in part:
        fixed[name] = kind
    return part


@st.composite
def _groups(draw: st.DrawFn, rest: dict[str, str]) -> tuple[str, set[str]]:
    """The clauses of the cells, and the attributes that cannot be null in them."""
    left, clauses, never_null = dict(rest), list[str](), set[str]()
    while left or not clauses:
        names = list(left)[: draw(st.integers(1, max(len(left), 1)))]
        listed = ", ".join(names)
        family = f'family "f{draw(st.integers(0, 1))}", '
        kind = draw(st.sampled_from(["pack", "cells", "families", "joined"]))
        if kind == "pack" or not names:
            clauses.append(f'{family}qualifier "q{len(clauses)}", value pack[{listed}]')
        elif kind == "cells":
            clauses.append(f"{family}qualifier attr_name[{listed}], value attr_value[{listed}]")
        elif kind == "families":
            clauses.append(f"family attr_name[{listed}], value attr_value[{listed}]")
        else:
            parts = [f"size{{{name}}}" if left[name] in (*_LONG, "json") else name for name in names]
            clauses.append(f'{family}qualifier "q{len(clauses)}", value {":".join(parts)}')
            never_null |= set(names)
        left = {name: kind for name, kind in left.items() if name not in names}
    return ", ".join(clauses), never_null


def cells_of(mutations: list[Mutation], before: Cells | None = None) -> Cells:
    """What a store holds of a row after these mutations, the cells ordered as it orders them."""
    held = {family: {cell.qualifier: cell for cell in cells} for family, cells in (before or {}).items()}
    for mutation in mutations:
        family = held.setdefault(str(mutation.family), {})
        if isinstance(mutation, Put):
            family.update({q: Cell(q, mutation.timestamp_us or 0, value) for q, value in mutation.values.items()})
        else:
            for qualifier in mutation.qualifiers or []:
                family.pop(qualifier, None)
    return {name: [cells[q] for q in sorted(cells)] for name, cells in held.items() if cells}
