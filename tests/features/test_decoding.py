"""Some attributes of a row are what they are among all."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from kaname.errors import CorruptData
from kaname.features.layout import MOST_KEPT
from kaname.features.schemas import schemas_in
from tests.features.generated import Example, cells_of, examples


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.data())
def test_some_attributes_are_decoded_as_among_all(data: st.DataObject) -> None:
    """For every kind of layout and value."""
    example: Example = data.draw(examples())
    layout, row = example.layout, data.draw(example.rows)
    names = data.draw(st.sets(st.sampled_from(layout.attributes)))
    key, cells = layout.key(row), cells_of(layout.put(row))
    whole, found = layout.decode(key, cells), layout.decode_some(names)(key, cells)
    assert repr({name: found[name] for name in sorted(names)}) == repr({name: whole[name] for name in sorted(names)})


TEXT = """
define relation r { a string key, b int32 key, x string, y string };
define schema s for r on cells("main") { table "t", row size{a}:b, family "f", value pack[] };
"""


def test_what_is_not_asked_for_is_not_looked_at() -> None:
    """Bytes that are no key and no pack are found by who needs them."""
    [layout] = schemas_in(TEXT).layouts["r"]
    row = {"a": "k", "b": 1, "x": "tea", "y": "cake"}
    key, cells = layout.key(row), cells_of(layout.put(row))
    assert layout.decode_some({"x"})(b"no key", cells)["x"] == "tea"
    assert layout.decode_some({"a"})(key + b"more", {}) == {"a": "k"}
    for names in ({"b"}, {"x", "b"}, {"a", "b"}):
        with pytest.raises(CorruptData, match=r"^t\[.*\]: not a row of schema `s`: "):
            layout.decode_some(names)(key + b"more", cells)
    with pytest.raises(CorruptData):
        layout.decode_some({"y"})(key, {"f": [replace(cells["f"][0], value=cells["f"][0].value[:-3])]})


def test_decoders_are_kept_but_not_for_ever() -> None:
    """The same one for the same attributes; all attributes are the whole."""
    attributes = [f"n{i}" for i in range(MOST_KEPT + 8)]
    text = f"define relation r {{ k string key, {', '.join(f'{name} int32' for name in attributes)} }};\n"
    text += 'define schema s for r on cells("main") { table "t", row k, family "f", value pack[] };'
    [layout] = schemas_in(text).layouts["r"]
    first = layout.decode_some({"n0"})
    assert layout.decode_some(["n0"]) is first
    assert layout.decode_some({"k", *attributes}) is layout.decode
    for name in attributes:
        layout.decode_some({name})
    assert layout.decode_some({"n0"}) is not first
