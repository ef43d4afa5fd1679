"""The table of changes: what leaves every stored byte its meaning is accepted, all else refused with the safe way."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from kaname.features.comparing import Verdict, compare
from kaname.features.facts import LayoutFacts
from kaname.features.records import Record
from kaname.features.schemas import Schemas, schemas_in
from kaname.features.wanted import wanted_of
from tests.features.generated import Example, cells_of, examples

FILE = "features/r.schema"
BEFORE = """
define relation r { k string key, n int32 key, a string, b float64, d decimal(5, 2), v vector<float32, 2> };
define schema own for r on cells("main") {
  table "own", row size{k}:n, family "f", qualifier attr_name[a, b], value attr_value[a, b],
  family "g", qualifier "p", value pack[d, v]
};
define schema all for r on cells("main") { table "all", row n:k, family "f", value pack[a, b, d, v] };
define schema text for r on cells("main") { table "text", row n:k, family "f", value size{a}:b };
"""
KEY = "k string key, n int32 key"
ALL = 'define schema all for r on cells("main") { table "all", row n:k, family "f", value pack[a, b, d, v] };'
TEXT = 'define schema text for r on cells("main") { table "text", row n:k, family "f", value size{a}:b };'


class Rows:
    """Stores of which it is only asked whether there are rows, and whose."""

    def __init__(self, *, rows: bool = True, owner: str | None = "r") -> None:
        self._rows, self._owner = rows, owner

    def has_rows(self, facts: LayoutFacts) -> bool:
        """In all tables or none."""
        return self._rows

    def owner(self, facts: LayoutFacts) -> str | None:
        """Of all tables one."""
        return self._owner


def recorded(text: str) -> Record:
    """The record of `r` after its first use."""
    record = compare(None, wanted_of(schemas_in(text, FILE), "r"), Rows(rows=False)).record
    assert record is not None
    return record


def changed(before: Record, after: str, *, rows: bool = True) -> Verdict:
    """What becomes of it when the file says `after`."""
    return compare(before, wanted_of(schemas_in(after, FILE), "r"), Rows(rows=rows))


ACCEPTED = {
    "nothing": lambda text: text,
    "comments and blanks": lambda text: "# mine\n" + text.replace(", ", " ,\n"),
    "the order of attributes that are listed": lambda text: text.replace("a string, b float64", "b float64, a string"),
    "the order of cells of their own": lambda text: text.replace("[a, b]", "[b, a]"),
    "a new attribute with a cell of its own": lambda text: text.replace("b float64,", "b float64, c json,").replace(
        "[a, b]", "[a, c, b]"
    ),
    "a new attribute behind a pack": lambda text: text.replace("b float64,", "c json, b float64,").replace(
        "pack[d, v]", "pack[d, v, c]"
    ),
    "a new attribute with a value of its own": lambda text: text.replace("b float64,", "b float64, c json,").replace(
        "value pack[d, v]", 'value pack[d, v], family "h", value pack[c]'
    ),
    "a decimal of more digits in the same bytes": lambda text: text.replace("decimal(5, 2)", "decimal(9, 2)"),
    "a schema's name": lambda text: text.replace("schema own", "schema mine"),
    "the order of schemas": lambda text: text.replace(ALL, "").replace(TEXT, "") + ALL + TEXT,
    "a schema less": lambda text: text.replace(ALL, ""),
    "size{k}:k for size{k}": lambda text: text.replace("size{k}", "size{k}:k"),
    "a removed attribute that had a cell of its own": lambda text: (
        text.replace("b float64, ", "").replace("[a, b]", "[a]").replace(ALL, "").replace(TEXT, "")
    ),
}
WAY = "kaname features relayout r"
REFUSED = {
    "a type": ("b float64", "b float32", "2:58", "`float64`, as stored"),
    "text as bytes": ("a string", "a bytes", "2:48", "`string`, as stored"),
    "a decimal's scale": ("decimal(5, 2)", "decimal(5, 3)", "2:69", r"`decimal\(5, 2\)`, as stored"),
    "a decimal of fewer digits": ("decimal(5, 2)", "decimal(4, 2)", "2:69", r"`decimal\(5, 2\)`, as stored"),
    "a decimal of more bytes": ("decimal(5, 2)", "decimal(10, 2)", "2:69", r"`decimal\(5, 2\)`, as stored"),
    "a vector's length": ("float32, 2>", "float32, 3>", "2:86", "`vector<float32, 2>`, as stored"),
    "a type in the key": ("n int32 key", "n int64 key", "2:35", "`int32`, as stored"),
    "the order of a row key": ("row size{k}:n", "row n:k", "4:20", WAY),
    "a row part": ("size{k}", 'suffix("\\0"){k}', "4:20", WAY),
    "a row in the other direction": ("{k}:n, family", "{k}:desc{n}, family", "4:20", WAY),
    "a hash before a row": ("row size{k}:n", "row hash[k]:size{k}:n", "4:20", WAY),
    "the order of a pack": ("pack[a, b, d, v]", "pack[b, a, d, v]", "7:78", WAY),
    "a pack without its last": ("pack[d, v]", "pack[d]", "5:30", WAY),
    "a new attribute in the middle of a pack": (
        "b float64, d decimal(5, 2), v",
        "b float64, d decimal(5, 2), c json, v",
        "5:30",
        WAY,
    ),
    "a family": ('family "f", qualifier attr_name', 'family "q", qualifier attr_name', "4:70", WAY),
    "a family of a pack": ('family "g"', 'family "h"', "5:30", WAY),
    "a qualifier": ('qualifier "p"', 'qualifier "q"', "5:30", WAY),
    "cells of their own in one cell": (
        "qualifier attr_name[a, b], value attr_value[a, b]",
        "value pack[a, b]",
        "4:",
        WAY,
    ),
    "one cell as cells of their own": (
        'family "g", qualifier "p", value pack[d, v]',
        'family "g", qualifier attr_name[d, v], value attr_value[d, v]',
        "5:",
        WAY,
    ),
    "parts of a value": ("value size{a}:b", "value b:a", "8:", WAY),
    "an attribute from its cell to another group": ("[a, b]", "[a]", "5:", WAY),
    "a table": ('table "own"', 'table "other"', "4:9", WAY),
    "a store": ('own for r on cells("main")', 'own for r on cells("other")', "3:28", WAY),
    "a new schema": (ALL, ALL + ALL.replace("all", "more"), "7:", WAY),
}
ALSO = {
    "a new attribute in the middle of a pack": ("pack[d, v]", "pack[d, c, v]"),
    "an attribute from its cell to another group": ("pack[d, v]", "pack[d, v, b]"),
}
"""The second edit of those that need two."""


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_change_that_keeps_every_meaning_is_accepted(name: str) -> None:
    """With rows stored; the same files again change nothing."""
    text = ACCEPTED[name](BEFORE)
    verdict = changed(recorded(BEFORE), text)
    assert verdict.refused == ()
    after = verdict.record or recorded(BEFORE)
    assert bool(verdict.record) == bool(verdict.changes)
    assert changed(after, text).record is None


@pytest.mark.parametrize("name", REFUSED)
def test_a_change_that_would_misread_rows_is_refused_with_place_and_safe_way(name: str) -> None:
    """Without rows it is accepted."""
    old, new, place, way = REFUSED[name]
    assert old in BEFORE
    text = BEFORE.replace(old, new).replace(*ALSO.get(name, ("", "")))
    verdict = changed(recorded(BEFORE), text)
    assert verdict.record is None
    problem = verdict.refused[0]
    assert str(problem.where).startswith(f"{FILE}:{place}"), problem
    assert re.search(way, str(problem.expected)), problem
    fresh = changed(recorded(BEFORE), text, rows=False)
    assert fresh.refused == ()
    assert fresh.record is not None
    assert fresh.record.version == 2


def test_the_key_cannot_change() -> None:
    """Neither grow nor shrink nor let an attribute in."""
    plain = f'define relation r {{ {KEY}, a string }}; define schema s for r on cells("main") {{ table "t", '
    cells = 'family "f", value pack[a] };'
    before = recorded(f"{plain} row n:k, {cells}")
    more = plain.replace(KEY, KEY + ", m int32 key")
    assert "have no such attribute in their key" in str(changed(before, f"{more} row n:m:k, {cells}").refused[0])
    less = plain.replace(", n int32 key", "")
    assert "an attribute of the key is gone" in str(changed(before, f"{less} row k, {cells}").refused[0])
    out = plain.replace("n int32 key", "n int32")
    found = changed(before, f'{out} row k, family "f", value pack[a, n] }};').refused[0]
    assert "is in the key" in str(found)
    assert "the key as stored (k string, n int32)" in str(found)


def test_an_attribute_that_was_removed_comes_back_only_with_its_type() -> None:
    """What it was is still in the cells."""
    cells = 'family "f", qualifier attr_name[], value attr_value[]'
    plain = f'define schema s for r on cells("main") {{ table "t", row k, {cells} }};'
    before = recorded("define relation r { k string key, a string, b string };" + plain)
    gone = changed(before, "define relation r { k string key, a string };" + plain)
    assert "b is removed; its values stay stored" in gone.changes[0]
    assert gone.record is not None
    back = changed(gone.record, "define relation r { k string key, a string, b string };" + plain)
    assert back.record is not None
    [kept] = back.record.layouts
    assert (kept.facts, kept.left, kept.later) == (before.layouts[0].facts, {}, ("b",))  # rows of meanwhile lack it
    other = changed(gone.record, "define relation r { k string key, a string, b int64 };" + plain)
    assert "values of an attribute that was removed are still stored there" in str(other.refused[0])
    assert "`string`, as stored; or another name" in str(other.refused[0])


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (" with history", "", "has no history any more; training sets miss what is written from now on"),
        (" with history", " with history(2 days)", "how long its history is kept changes"),
        ("", " with history", "has a history from now on; training sets miss what was written before"),
    ],
)
def test_what_a_change_of_history_means_is_said(before: str, after: str, said: str) -> None:
    """To take it away costs what comes later, not what is there."""
    relation = (
        f"define relation r{before} {{ {KEY}, a string, b float64, d decimal(5, 2), v vector<float32, 2> }}; {ALL}"
    )
    found = changed(recorded(relation), relation.replace(f"r{before} {{", f"r{after} {{"))
    assert not found.refused
    assert [change.partition(": ")[2] for change in found.changes] == [said]


def test_a_table_belongs_to_one_relation() -> None:
    """Another one cannot take it over with its rows."""
    wanted = wanted_of(schemas_in(BEFORE, FILE), "r")
    verdict = compare(None, wanted, Rows(owner="order"))
    assert "rows of another relation are stored in this table" in str(verdict.refused[0])
    assert compare(None, wanted, Rows(owner="order", rows=False)).record is not None


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(examples())
def test_what_is_recorded_makes_the_same_layout_again(example: Example) -> None:
    """Whatever the schema, its text from the record is the same schema: same keys, same cells."""
    record = recorded(example.text)
    again = schemas_in(record.text(), FILE)
    assert changed(record, record.text()).record is None
    assert recorded(record.text()) == record
    assert again.relations["r"] == record.relation


@st.composite
def edited(draw: st.DrawFn, text: str) -> str:
    """A schema after up to three edits, good or bad."""
    for _ in range(draw(st.integers(1, 3))):
        text = draw(st.sampled_from(_EDITS))(draw, text)
    return text


def _new_attribute(draw: st.DrawFn, text: str) -> str:
    kind = draw(st.sampled_from(["string", "int64", "json", "decimal(7, 2)"]))
    at = draw(st.sampled_from([match.end() for match in re.finditer(r"\{ |, (?=a\d)", text.split("\n")[0])]))
    text = f"{text[:at]}new{len(text)} {kind}, {text[at:]}"
    name = re.search(r"new\d+", text)
    assert name is not None
    places = [match.start() for match in re.finditer(r"\]", text.split("family", 1)[-1])]
    if not places:
        return text
    cut = text.index("family") + len("family") + draw(st.sampled_from(places)) - len("family")
    return f"{text[:cut]}, {name[0]}{text[cut:]}"


def _swap(draw: st.DrawFn, text: str) -> str:
    lists = [m for m in re.finditer(r"\[(\w+, )+\w+\]", text) if "hash" not in text[m.start() - 9 : m.start()]]
    if not lists:
        return text
    found = draw(st.sampled_from(lists))
    names = draw(st.permutations(found[0][1:-1].split(", ")))
    return text.replace(found[0], f"[{', '.join(names)}]")


_WORDS = [
    ("int32", "int64"),
    ("string", "bytes"),
    ("float32", "float64"),
    ('"q0"', '"q9"'),
    ('"f0"', '"f1"'),
    ("pack", "attr_value"),
    ("decimal(5", "decimal(6"),
    ("desc{k0}", "k0"),
    (":size{k1}", ":k1"),
    ('"t"', '"u"'),
]


def _word(draw: st.DrawFn, text: str) -> str:
    old, new = draw(st.sampled_from(_WORDS))
    return text.replace(old, new, 1)


def _drop(draw: st.DrawFn, text: str) -> str:
    name = draw(st.sampled_from([f"a{i}" for i in range(7)]))
    text = re.sub(rf", {name} [^,}}]*(\([^)]*\)|<[^>]*>)?", "", text, count=1)
    return re.sub(rf"\b{name}, |, {name}\b", "", text)


_EDITS = [_new_attribute, _swap, _word, _drop]


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_after_any_accepted_change_old_rows_are_as_before_with_nulls(data: st.DataObject) -> None:
    """Whatever the edits: when they are accepted, bytes of before decode as before."""
    example = data.draw(examples())
    text = data.draw(edited(example.text))
    schemas = _good(text)
    assume(schemas is not None and schemas.layouts.get("r"))
    assert schemas is not None
    verdict = compare(recorded(example.text), wanted_of(schemas, "r"), Rows())
    assume(not verdict.refused)
    row = data.draw(example.rows)
    old, new = example.layout, schemas.layouts["r"][0]
    cells = cells_of(old.put(row, timestamp_us=5))
    was = old.decode(old.key(row), cells)
    now = new.decode(new.key(row), cells)
    assert new.key(row) == old.key(row)
    kept = {name: value for name, value in was.items() if name in new.attributes}
    assert repr(now) == repr({**dict.fromkeys(new.attributes), **kept})


def _good(text: str) -> Schemas | None:
    try:
        return schemas_in(text, FILE)
    except Exception:  # noqa: BLE001  (most edits make no schema; those that do are the question)
        return None


def test_the_docs_have_the_table() -> None:
    """Every kind of change that is tried above is in the page."""
    page = (Path(__file__).parents[2] / "docs" / "relayout.md").read_text()
    for name in (*ACCEPTED, *REFUSED):
        assert f"| {name} |" in page, name
