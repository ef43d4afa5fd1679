"""What a layout writes it reads, and the order of bytes is the order that it promises, whatever the schema."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kaname.errors import CorruptData
from kaname.features.layout import Layout
from kaname.features.parts import CompiledPart
from kaname.features.ranges import Span, Within, following
from kaname.storage.cells.types import Cell
from tests.features.generated import Example, cells_of, examples

pytestmark = pytest.mark.slow

MANY = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@MANY
@given(examples(), st.data())
def test_a_row_comes_back_as_it_was(example: Example, data: st.DataObject) -> None:
    """decode(encode(row)) == row for generated schemas and rows, nulls included."""
    row = data.draw(example.rows)
    layout = example.layout
    mutations = layout.put(row, timestamp_us=1)
    assert layout.decode(layout.key(row), cells_of(mutations)) == row
    assert {mutation.row for mutation in mutations} == {layout.key(row)}


@MANY
@given(examples(), st.data())
def test_two_rows_share_no_bytes(example: Example, data: st.DataObject) -> None:
    """Rows have one key exactly when their key attributes are equal."""
    one, other = data.draw(example.rows), data.draw(example.rows)
    layout = example.layout
    same = all(one[a.name] == other[a.name] for a in layout.relation.key)
    assert (layout.key(one) == layout.key(other)) == same


@MANY
@given(examples(), st.data())
def test_a_row_written_over_another_leaves_nothing_of_it(example: Example, data: st.DataObject) -> None:
    """An attribute that became null is null, not what it was before."""
    layout = example.layout
    before, after = data.draw(example.rows), data.draw(example.rows)
    after |= {a.name: before[a.name] for a in layout.relation.key}
    cells = cells_of(layout.put(after, timestamp_us=2), cells_of(layout.put(before, timestamp_us=1)))
    assert layout.decode(layout.key(after), cells) == after


@MANY
@given(examples(), st.data())
def test_bytes_sort_as_the_layout_says(example: Example, data: st.DataObject) -> None:
    """Behind each choice of equal leading attributes, rows sort by `sorted_by`, descending where it says so."""
    layout = example.layout
    one, other = data.draw(example.rows), data.draw(example.rows)
    for count in range(len(layout.row)):
        equal = _equal(one, layout.row[:count])
        pair = [one, other | equal]
        for name, desc in layout.sorted_by(equal):
            if pair[0][name] != pair[1][name]:
                smaller = pair[0][name] < pair[1][name]  # type: ignore[operator]  # types of keys have an order
                assert (layout.key(pair[0]) < layout.key(pair[1])) == (smaller != desc)
                break


@MANY
@given(examples(), st.data())
def test_a_span_holds_the_rows_that_match_and_no_others(example: Example, data: st.DataObject) -> None:
    """Ranges with and without their ends, ascending and descending, agree with comparing values one by one."""
    layout = example.layout
    rows = [data.draw(example.rows) for _ in range(4)]
    count = data.draw(st.integers(0, len(layout.row)))
    equal = _equal(rows[0], layout.row[:count])
    rows += [row | equal for row in rows]
    part = next(iter(layout.row[following(layout.row, equal) :]), None)
    for low_open, high_open in itertools.product([False, True], repeat=2):
        within = None
        if part is not None and part.ordered and part.attribute is not None:
            low, high = (data.draw(st.none() | st.just(row[part.attribute])) for row in rows[:2])
            within = Within(attribute=part.attribute, low=low, high=high, low_open=low_open, high_open=high_open)
        span = layout.span(equal, within)
        for row in rows:
            assert _inside(span, layout.key(row)) == _matches(row, equal, within)


def _equal(row: dict[str, object], parts: Sequence[CompiledPart]) -> dict[str, object]:
    """The values that these parts are made of."""
    return {name: row[name] for part in parts for name in (part.hashed or (str(part.attribute),))}


def _inside(span: Span, key: bytes) -> bool:
    return span.start <= key and (span.stop is None or key < span.stop)


def _matches(row: dict[str, object], equal: dict[str, object], within: Within | None) -> bool:
    if any(row[name] != value for name, value in equal.items()):
        return False
    if within is None:
        return True
    value, low, high = row[within.attribute], within.low, within.high
    above = low is None or value > low or (value == low and not within.low_open)  # type: ignore[operator]  # ordered
    below = high is None or value < high or (value == high and not within.high_open)  # type: ignore[operator]  # ordered
    return above and below


@MANY
@given(examples(), st.data())
def test_values_that_begin_alike_lie_in_one_span(example: Example, data: st.DataObject) -> None:
    """`LIKE 'a%'` is a range wherever the layout says so."""
    layout, row = example.layout, data.draw(example.rows)
    for i, part in enumerate(layout.row):
        if part.prefixed and part.attribute is not None:
            value = row[part.attribute]
            assert isinstance(value, str | bytes)
            equal = _equal(row, layout.row[:i])
            if part.attribute not in equal:
                begins = value[: data.draw(st.integers(0, len(value)))]
                assert _inside(layout.span(equal, Within(attribute=part.attribute, begins=begins)), layout.key(row))


@MANY
@given(examples(), st.data())
def test_bytes_that_no_row_has_are_refused_or_read(example: Example, data: st.DataObject) -> None:
    """Damaged keys and cells raise CorruptData with the place, and never anything else."""
    layout, row = example.layout, data.draw(example.rows)
    cells = cells_of(layout.put(row))
    damage = data.draw(st.sampled_from([b"", b"\xff", b"\xff" * 40]))
    for family in cells:
        cells[family] = [Cell(cell.qualifier, 1, cell.value[:-1] + damage) for cell in cells[family]]
    key = layout.key(row)
    assert _place_of_fault(layout, key, cells) in (None, f"t[{key.hex()}]")
    key = key[:-1] + damage
    assert _place_of_fault(layout, key, cells_of(layout.put(row))) in (None, f"t[{key.hex()}]")


def _place_of_fault(layout: Layout, key: bytes, cells: dict[str, list[Cell]]) -> str | None:
    try:
        layout.decode(key, cells)
    except CorruptData as error:
        return error.where
    return None
