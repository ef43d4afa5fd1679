"""Columns become the bytes that rows become, for every kind of layout and value."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaname.errors import InvalidInput
from kaname.features.bulk.arriving import arriving
from kaname.features.bulk.columns import OfBatch, OfValues
from kaname.features.bulk.encoding import BatchRows
from kaname.features.columnar import batches
from kaname.features.schemas import schemas_in
from kaname.storage.cells.types import Delete, Mutation
from tests.features.generated import Example, examples


def settled(mutations: Sequence[Mutation]) -> list[Mutation]:
    """Mutations of one row, what is deleted in the order of families: it does not matter, and is not promised."""
    return sorted(mutations, key=lambda one: str(one.family) if isinstance(one, Delete) else "")


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(st.data())
def test_a_batch_becomes_what_its_rows_become(data: st.DataObject) -> None:
    """Mutation by mutation; a slice of a batch, too."""
    example: Example = data.draw(examples())
    layout, relation = example.layout, example.layout.relation
    rows = data.draw(st.lists(example.rows, min_size=1, max_size=6))
    [batch, *_] = batches(rows, [(one.name, one.type) for one in relation.attributes])
    start = data.draw(st.integers(0, len(rows) - 1))
    found = BatchRows(OfBatch(arriving(batch.slice(start), relation), relation), relation)
    for i, row in enumerate(rows[start:]):
        made = found.made(layout, found[i], timestamp_us=7, number=i)
        assert settled(made) == settled(layout.put(row, timestamp_us=7, number=i))


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(st.data())
def test_lists_of_values_become_what_their_rows_become(data: st.DataObject) -> None:
    """Mutation by mutation, whatever the values; and the same is refused."""
    example: Example = data.draw(examples())
    layout, relation = example.layout, example.layout.relation
    rows = data.draw(st.lists(example.rows, min_size=1, max_size=6))
    found = BatchRows(OfValues({name: [row.get(name) for row in rows] for name in relation.names}, len(rows)), relation)
    for i, row in enumerate(rows):
        made = found.made(layout, found[i], timestamp_us=7, number=i)
        assert settled(made) == settled(layout.put(row, timestamp_us=7, number=i))


NUMBERS = """
define relation r { k string key, n float32, d decimal(5, 2), v vector<float32, 2>, s string };
define schema packed for r on cells("main") { table "p", row k, family "f", value pack[] };
"""
OUT: dict[str, dict[str, object]] = {
    "a number that float32 has not": {"n": 1e300},
    "one in a vector": {"v": [0.5, 1e39]},
    "digits that a decimal has not": {"d": Decimal("1.005")},
    "a decimal that is no number": {"d": Decimal("NaN")},
    "half of a surrogate pair": {"s": "\ud800"},
    "a vector too short": {"v": [0.5]},
}


@pytest.mark.parametrize("case", OUT)
def test_values_that_arrow_would_change_are_refused(case: str) -> None:
    """As row by row, with the same words."""
    [layout] = schemas_in(NUMBERS).layouts["r"]
    row = {"k": "a", "n": 0.5, "d": Decimal("1.00"), "v": [1.0, 2.0], "s": "x", **OUT[case]}
    rows = BatchRows(OfValues({name: [value, value] for name, value in row.items()}, 2), layout.relation)
    with pytest.raises(InvalidInput) as expected:
        layout.put(row, timestamp_us=1, number=1)
    with pytest.raises(InvalidInput) as found:
        rows.made(layout, rows[1], timestamp_us=1, number=1)
    assert str(found.value) == str(expected.value)


TEXT = """
define relation r { k string key, n float64 key, a int32, s string };
define schema packed for r on cells("main") { table "p", row suffix(","){k}:n, family "f", value pack[] };
define schema apart for r on cells("main") {
  table "a", row size{k}:desc{n}, family "f", qualifier attr_name[], value attr_value[]
};
"""
BAD = {
    "a separator": {"k": "a,b", "n": 1.0},
    "no number": {"k": "a", "n": float("nan")},
    "a key too long": {"k": "a" * 600, "n": 1.0},
}


@pytest.mark.parametrize("case", BAD)
def test_what_no_layout_can_write_is_refused_with_its_row(case: str) -> None:
    """As one by one."""
    relation, layouts = schemas_in(TEXT).relations["r"], schemas_in(TEXT).layouts["r"]
    [batch, *_] = batches(
        [{"k": "a", "n": 1.0, "a": 1, "s": "x"}, {**BAD[case], "a": 1, "s": "x"}],
        [(one.name, one.type) for one in relation.attributes],
    )
    rows = BatchRows(OfBatch(arriving(batch, relation), relation), relation)
    refused = 0
    for layout in layouts:
        assert rows.made(layout, rows[0], timestamp_us=1, number=0)
        try:
            rows.made(layout, rows[1], timestamp_us=1, number=1)
        except InvalidInput as error:
            assert str(error).startswith(("rows[1].k: ", "rows[1].n: "))  # noqa: PT017  (one layout may take it)
            refused += 1
    assert refused
