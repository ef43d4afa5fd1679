"""Layouts as those who read and write use them: part of a row, old rows under a new schema, what sorts how."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from kaname.errors import CorruptData, InvalidInput
from kaname.features.layout import Layout
from kaname.features.ranges import Within
from kaname.features.schemas import schemas_in
from kaname.storage.cells.types import Cell, Delete, Family, Put, Table
from tests.features.generated import cells_of

RELATION = "define relation r { k string key, t timestamp key, a string, b int64, c float64 };"
T = datetime(2026, 1, 1, tzinfo=UTC)
ROW = {"k": "u1", "t": T, "a": "x", "b": 2, "c": 0.5}


def layout(clauses: str, relation: str = RELATION) -> Layout:
    """The layout with these clauses."""
    return schemas_in(f'{relation} define schema s for r on cells("main") {{ table "t", {clauses} }};').layouts["r"][0]


CELLS = layout('row size{k}:desc{t}, family "f", qualifier attr_name[], value attr_value[]')
PACKED = layout('row size{k}:t, family "f", value pack[]')


def test_several_families_hold_what_their_brackets_list() -> None:
    """Empty brackets take the rest."""
    both = layout(
        'row size{k}:t, family "f", qualifier attr_name[b], value attr_value[b], '
        'family "g", qualifier "p", value pack[]'
    )
    puts = both.put(ROW, timestamp_us=7)
    assert [(put.family, put.timestamp_us) for put in puts if isinstance(put, Put)] == [("f", 7), ("g", 7)]
    assert both.decode(both.key(ROW), cells_of(puts)) == ROW
    assert both.definition() == Table("t", {"f": Family(), "g": Family()})


def test_an_attribute_in_a_cell_of_its_own_is_written_and_read_alone() -> None:
    """What else the row has stays."""
    cells = cells_of(CELLS.put(ROW))
    patched = cells_of(CELLS.patch({"k": "u1", "t": T, "b": 3}), cells)
    assert CELLS.decode(CELLS.key(ROW), patched) == {**ROW, "b": 3}
    assert patched["f"][0].qualifier == b"\0"
    assert CELLS.columns(["b"]) == {"f": {b"b", b"\0"}}
    assert PACKED.columns(["b"]) == {"f": {b""}}
    assert CELLS.columns(["k"]) == {"f": {b"a", b"b", b"c", b"\0"}}


def test_attributes_that_share_a_cell_are_written_together() -> None:
    """Writing some of them would need reading the others first."""
    with pytest.raises(InvalidInput, match="which share a cell") as found:
        PACKED.patch({"k": "u1", "t": T, "b": 3})
    assert str(found.value.where).endswith(".a")


def test_a_row_of_nulls_is_there() -> None:
    """A marker stands for it where null is no cell."""
    nothing = {"k": "u1", "t": T, "a": None, "b": None, "c": None}
    mutations = CELLS.put({"k": "u1", "t": T}, timestamp_us=1)
    assert mutations == [
        Put("t", CELLS.key(nothing), "f", {b"\0": b""}, 1),
        Delete("t", CELLS.key(nothing), "f", [b"a", b"b", b"c"], 1),
    ]
    assert CELLS.decode(CELLS.key(nothing), cells_of(mutations)) == nothing


def test_the_newest_of_several_kept_versions_is_read() -> None:
    """Stores give them newest first."""
    cells = {"f": [Cell(b"a", 2, b"new"), Cell(b"a", 1, b"old"), Cell(b"unknown", 1, b"")]}
    assert CELLS.decode(CELLS.key(ROW), cells)["a"] == "new"
    packed = {"f": [*cells_of(PACKED.put(ROW))["f"], Cell(b"", 0, b"old")]}
    assert PACKED.decode(PACKED.key(ROW), packed) == ROW


def test_a_row_written_before_an_attribute_was_added_has_null_there() -> None:
    """Both with a cell per attribute and in a pack, when it is added at the end."""
    more = RELATION.replace("c float64", "c float64, d json, e bool")
    for clauses in ('family "f", qualifier attr_name[], value attr_value[]', 'family "f", value pack[]'):
        old, new = layout(f"row size{{k}}:t, {clauses}"), layout(f"row size{{k}}:t, {clauses}", more)
        assert new.decode(old.key(ROW), cells_of(old.put(ROW))) == {**ROW, "d": None, "e": None}


def test_a_pack_of_more_attributes_than_are_known_is_corrupt() -> None:
    """The error names the table and the key."""
    fewer = layout('row size{k}:t, family "f", value pack[]', RELATION.replace(", c float64", ""))
    with pytest.raises(CorruptData, match="a pack of 3 attributes where 2") as found:
        fewer.decode(PACKED.key(ROW), cells_of(PACKED.put(ROW)))
    assert found.value.where == f"t[{PACKED.key(ROW).hex()}]"


def test_a_delete_names_the_row() -> None:
    """And up to when."""
    assert CELLS.delete({"k": "u1", "t": T}, timestamp_us=5) == Delete("t", CELLS.key(ROW), until_us=5)


def test_a_layout_says_what_its_rows_sort_by() -> None:
    """A size or a hash groups equal values and sorts nothing; behind them order begins."""
    assert CELLS.sorted_by() == []
    assert CELLS.sorted_by({"k"}) == [("t", True)]
    ordered = layout('row suffix("\\0"){k}:t, family "f", value pack[]')
    assert ordered.sorted_by() == [("k", False), ("t", False)]
    comma = layout('row suffix(","){k}:t, family "f", value pack[]')
    assert (comma.sorted_by(), comma.sorted_by({"k"})) == ([], [("t", False)])
    spread = layout('row hash(2)[k]:size{k}:t, family "f", value pack[]')
    assert (spread.sorted_by(), spread.sorted_by({"k"})) == ([], [("t", False)])


@pytest.mark.parametrize(
    ("row", "equal", "within", "message"),
    [
        ("size{k}:t", {}, Within(attribute="k", low="a"), "do not sort like its values"),
        ("size{k}:t", {}, Within(attribute="k", begins="a"), "begin alike do not lie together"),
        ("size{k}:t", {}, Within(attribute="t", low=T), "expected one value of k first"),
        ("hash(2)[k, t]:size{k}:t", {"k": "u"}, Within(attribute="t", low=T), "expected one value of k, t first"),
        ("size{k}:t", {"k": "u", "t": T}, Within(attribute="t", low=T), "the key is complete"),
        ("suffix(,){k}:t", {}, Within(attribute="k", high="a"), "do not sort like its values"),
    ],
)
def test_a_range_that_is_none_is_refused(row: str, equal: dict[str, object], within: Within, message: str) -> None:
    """The planner learns why, and what would make it one."""
    with pytest.raises(InvalidInput, match=message):
        layout(f'row {row}, family "f", value pack[]').span(equal, within)


def test_no_word_is_reserved() -> None:
    """Attributes may be called as the language calls its own things."""
    words = ["size", "suffix", "fixed", "hash", "desc", "pack", "row", "table", "family", "qualifier", "value"]
    words += ["attr_name", "attr_value", "define", "relation", "for", "on", "key", "string"]
    relation = f"define relation r {{ {', '.join(f'{word} string key' for word in words)} }};"
    parts = ":".join(f"size{{{word}}}" for word in words[:-1]) + f":{words[-1]} # the last one"
    every = layout(f'row {parts}\n, family "f", value pack[]', relation)
    row = {word: word for word in words}
    assert every.decode(every.key(row), cells_of(every.put(row))) == row
