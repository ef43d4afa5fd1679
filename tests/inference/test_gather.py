"""Many calls' inputs into one set of tensors: every layout, and whose value does not fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaname.call import Call, Row
from kaname.errors import InvalidInput
from kaname.inference.gather import check_table, gather_for, strict_context
from kaname.signature import Feature, OutputSpec, Signature
from kaname.tensors import Datatype, Tensor, TensorSpec

from .runtime import ROWS, WHO

OUT = (OutputSpec(name="y", datatype="FP32", shape=(-1,)),)
COLUMNS = Signature(
    task="other",
    inputs=(
        TensorSpec(name="age", datatype="FP32", shape=(-1, 1)),
        TensorSpec(name="count", datatype="INT8", shape=(-1,)),
        TensorSpec(name="note", datatype="BYTES", shape=(-1, 1)),
    ),
    outputs=OUT,
    features=(
        Feature(name="age", datatype="FP32", nullable=True),
        Feature(name="count", datatype="INT8"),
        Feature(name="note", datatype="BYTES"),
    ),
)
TENSORS = Signature(task="other", inputs=(TensorSpec(name="t", datatype="INT32", shape=(-1, 2, 2)),), outputs=OUT)


def table(*rows: Sequence[Any]) -> Call:
    return Call("r", WHO, lambda _, __: None, len(rows), table=rows)


def tensors(*arrays: Tensor) -> Call:
    return Call("r", WHO, lambda _, __: None, len(arrays[0]), tensors=arrays)


def gathered(signature: Signature, *calls: Call) -> tuple[Tensor, ...]:
    inputs, given = strict_context().run(gather_for(signature), calls)
    if given is not None:  # what is recorded: the numbers as asked, whatever the model's datatype makes of them
        asked = [cell for call in calls for row in call.table or () for cell in row]
        assert given.dtype == np.float64
        assert [None if np.isnan(cell) else cell for cell in given.ravel().tolist()] == asked
    return inputs


def matrix_of(datatype: Datatype) -> Signature:
    """A model without features whose rows are two numbers."""
    return Signature(task="other", inputs=(TensorSpec(name="x", datatype=datatype, shape=(-1, 2)),), outputs=OUT)


cells = st.one_of(st.floats(width=32, allow_nan=False), st.integers(-(2**20), 2**20))


@given(st.lists(st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=4), min_size=1, max_size=5), st.data())
def test_rows_keep_their_order_and_their_bits(calls: list[list[Row]], data: st.DataObject) -> None:
    """Tables and tensors mixed: the run's rows are those of the calls, one after the other."""
    made = [table(*rows) if data.draw(st.booleans()) else tensors(np.array(rows, np.float32)) for rows in calls]
    (x,) = gathered(ROWS, *made)
    assert x.dtype == np.float32
    assert x.flags.c_contiguous
    assert x.tobytes() == np.array([row for rows in calls for row in rows], np.float32).tobytes()


def test_columns_become_inputs_of_their_own() -> None:
    """Each with its datatype and shape; null is NaN, texts stay whole."""
    age, count, note = gathered(COLUMNS, table((None, 3, b"a\0"), (1.5, -4, b"")), table((2.0, 127, "é".encode())))
    assert age.shape == note.shape == (3, 1)
    assert np.isnan(age[0, 0])
    assert age[1:, 0].tolist() == [1.5, 2.0]
    assert count.tolist() == [3, -4, 127]
    assert count.dtype == np.int8
    assert note[:, 0].tolist() == [b"a\0", b"", "é".encode()]


def test_columns_as_tables_and_as_tensors_share_a_run() -> None:
    """Both protocols' requests for one model."""
    note = np.empty((1, 1), object)
    note[0, 0] = b"x"
    given_as_tensors = tensors(np.array([[7.0]], np.float32), np.array([1], np.int8), note)
    age, count, notes = gathered(COLUMNS, table((1.0, 2, b"y")), given_as_tensors)
    assert (age.tolist(), count.tolist(), notes.tolist()) == ([[1.0], [7.0]], [2, 1], [[b"y"], [b"x"]])


def test_plain_tensors_are_joined_or_handed_on() -> None:
    """One call's tensors are not copied."""
    one = np.arange(8, dtype=np.int32).reshape(2, 2, 2)
    (same,) = gathered(TENSORS, tensors(one))
    assert same is one
    (joined,) = gathered(TENSORS, tensors(one), tensors(one[:1]))
    assert joined.shape == (3, 2, 2)


@pytest.mark.parametrize(
    ("datatype", "value"),
    [("FP32", 1e39), ("FP32", -1e39), ("FP16", 70_000.0), ("INT8", 128), ("INT32", -(2**31) - 1), ("UINT8", -1),
     ("UINT64", 2**64), ("INT64", 2**63)],
)  # fmt: skip
def test_a_value_that_its_datatype_cannot_hold_is_named(datatype: Datatype, value: float) -> None:
    """Never infinity or another number in its place: the gather raises, and the cell is found."""
    signature = matrix_of(datatype)
    bad = table((1, 2), (3, value))
    with pytest.raises((FloatingPointError, OverflowError)):
        gathered(signature, table((1, 2)), bad)
    with pytest.raises(InvalidInput) as found:
        check_table(bad, signature)
    assert (found.value.where, found.value.found) == ("instances[1].x[1]", repr(value))
    assert datatype in str(found.value.expected)


@pytest.mark.parametrize(("datatype", "value"), [("FP32", float("inf")), ("FP64", 1e300), ("INT8", -128)])
def test_what_a_datatype_holds_passes(datatype: Datatype, value: float) -> None:
    """The edge of the range and infinity are values."""
    (x,) = gathered(matrix_of(datatype), table((0, value)))
    assert x[0, 1] == value
    check_table(table((0, value)), matrix_of(datatype))


def test_null_is_named_where_only_whole_numbers_fit() -> None:
    """A nullable whole number has no NaN to become: the request is refused at its cell."""
    signature = msgspec.structs.replace(
        matrix_of("INT64"), features=(Feature(name="a", datatype="INT64", nullable=True),) * 2
    )
    with pytest.raises(InvalidInput) as refused:
        check_table(table((1, None)), signature)
    assert (refused.value.where, refused.value.found) == ("features.a", "null")
