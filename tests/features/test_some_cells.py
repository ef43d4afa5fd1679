"""A scan that needs some attributes reads their cells alone, and misses no row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaname.clock import SystemClock
from kaname.features.opened import Features
from kaname.features.schemas import schemas_in
from kaname.storage.cells.memory import MemoryCells

FIRST = [f"a{i}" for i in range(9)]
LATER = [f"b{i}" for i in range(9)]
CELLS = "qualifier attr_name[], value attr_value[]"
PACKED = 'qualifier "p", value pack[a0], family "g", ' + CELLS
FAMILIES = "family attr_name[a0, a1, a2], value attr_value[a0, a1, a2], " + 'family "f", ' + CELLS


def text(attributes: list[str], cells: str) -> str:
    """A relation with these attributes."""
    named = ", ".join(f"{name} int32" for name in attributes)
    head = "" if cells.startswith("family") else 'family "f", '
    layout = f'define schema s for r on cells("main") {{ table "t", row k, {head}{cells} }};'
    return f"define relation r {{ k int32 key, {named} }};\n{layout}"


def changing(before: str, after: str) -> tuple[Features, Callable[[], None]]:
    """Relations in memory, and what changes their file."""
    said, store = [before], MemoryCells(SystemClock())
    features = Features(lambda: schemas_in(said[0]), lambda _: store, SystemClock(), stamp=lambda: said[0])

    def change() -> None:
        said[0] = after
        features.look()

    return features, change


def rows(names: list[str], keys: range) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Rows with some of these attributes, others null."""
    values = st.dictionaries(st.sampled_from(names), st.none() | st.just(1))
    return st.lists(st.tuples(st.sampled_from(keys), values), max_size=6).map(
        lambda drawn: [{**row, "k": key} for key, row in drawn]
    )


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.data(), st.sampled_from([CELLS, PACKED, FAMILIES]))
def test_a_scan_of_some_attributes_finds_every_row(data: st.DataObject, cells: str) -> None:
    """Rows that were written whole, in part, and before attributes were added or removed."""
    after = [*FIRST[:5], *LATER] if data.draw(st.booleans()) else [*FIRST, *LATER]
    features, change = changing(text(FIRST, cells), text(after, cells))
    stored = features.relation("r")
    stored.insert(data.draw(rows(FIRST, range(5))))
    stored.insert([{"k": 5, **dict.fromkeys(FIRST, 1)}])
    stored.update(data.draw(rows(FIRST[1:], range(9))))
    change()
    stored.update(data.draw(rows([*after[1:4], *LATER], range(9))))
    [layout] = stored.layouts
    names = data.draw(st.sets(st.sampled_from(["k", *after]), min_size=1, max_size=3))
    whole = [{name: row[name] for name in names} for row in stored.scan(layout, layout.span({}))]
    some = stored.scan(layout, layout.span({}), attributes=names)
    assert [{name: row[name] for name in names} for row in some] == whole


def test_only_the_cells_of_some_attributes_are_read() -> None:
    """With the marker, and one that every row has had where these came later; or all, where that is not much more."""
    features, change = changing(text(FIRST, CELLS), text([*FIRST, *LATER], CELLS))
    [layout] = features.relation("r").layouts
    assert layout.columns_of_rows({"a3"}) == {"f": {b"\0", b"a3"}}
    assert layout.columns_of_rows({"k"}) == {"f": {b"\0", b"a0"}}
    assert layout.columns_of_rows(FIRST) is None
    change()
    [layout] = features.relation("r").layouts
    assert layout.columns_of_rows({"a3", "b1"}) == {"f": {b"\0", b"a3", b"b1"}}
    assert layout.columns_of_rows({"b1"}) == {"f": {b"\0", b"a0", b"b1"}}
    [layout] = schemas_in(text(FIRST, PACKED)).layouts["r"]
    assert layout.columns_of_rows({"a3"}) == {"f": {b"p"}, "g": {b"\0", b"a3"}}


def test_a_row_that_is_nothing_but_its_key_is_found() -> None:
    """Its cell holds no attributes."""
    features = changing(text([], "value pack[]").replace(",  }", " }"), "")[0]
    features.relation("r").insert([{"k": 1}, {"k": 2}])
    assert features.query("SELECT k FROM r WHERE k > 1 ALLOW FILTERING").all() == [{"k": 2}]
