"""The canonical form of inputs: equal where a run would get the same, and nowhere else."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaname.call import Call, Row
from kaname.inference.cache.canonical import canonical_of
from kaname.signature import Feature, OutputSpec, Signature
from kaname.tensors import Datatype, Tensor, TensorSpec
from tests.inference.runtime import WHO

OUT = (OutputSpec(name="y", datatype="FP32", shape=(-1,)),)


def signature(*inputs: tuple[Datatype, tuple[int, ...]], features: int = 0, batched: bool = True) -> Signature:
    return Signature(
        task="other",
        inputs=tuple(TensorSpec(name=f"x{i}", datatype=kind, shape=shape) for i, (kind, shape) in enumerate(inputs)),
        outputs=OUT,
        features=tuple(Feature(name=f"f{i}", datatype=inputs[0][0], nullable=True) for i in range(features)),
        batched=batched,
    )


def of_table(*rows: Row) -> Call:
    return Call("r", WHO, lambda _, __: None, len(rows), list(rows))


def of_tensors(*tensors: Tensor, rows: int | None = None) -> Call:
    return Call("r", WHO, lambda _, __: None, len(tensors[0]) if rows is None else rows, None, tensors)


MATRIX = signature(("FP32", (-1, 3)), features=3)
canonical = canonical_of(MATRIX)
NUMBERS = st.lists(st.floats(width=32), min_size=3, max_size=3)


@given(NUMBERS, NUMBERS)
def test_bytes_are_equal_exactly_where_the_inputs_are(one: Sequence[float], other: Sequence[float]) -> None:
    """Bit for bit, but that NaN is NaN."""
    bits = [[b"nan" if x != x else struct.pack("<f", x) for x in row] for row in (one, other)]
    assert (canonical(of_table(one)) == canonical(of_table(other))) is (bits[0] == bits[1])
    assert canonical(of_table(one)) == canonical(of_tensors(np.array([one], np.float32)))


def test_nan_is_one_value_and_minus_zero_another() -> None:
    """null, NaN and any payload of it are one input; 0.0 and -0.0 are two."""
    odd = np.array([[0x7FC12345, 0xFFC00000, 0x3F800000]], "<u4").view("<f4")
    assert canonical(of_tensors(odd)) == canonical(of_table((None, float("nan"), 1.0)))
    assert odd.view("<u4")[0, 0] == 0x7FC12345, "the caller's array was written to"
    assert canonical(of_table((0.0, 1.0, 2.0))) != canonical(of_table((-0.0, 1.0, 2.0)))
    half = canonical_of(signature(("FP16", (-1, 2))))
    assert half(of_tensors(np.array([[0x7E01, 0x3C00]], "<u2").view("<f2"))) == half(of_table((None, 1.0)))


def test_numbers_are_compared_as_the_model_gets_them() -> None:
    """Two that round to the same single are one input; the largest are told apart from infinity and cost no warning."""
    assert canonical(of_table((0.1, 0, 0))) == canonical(of_table((0.10000000149011612, 0.0, 0)))
    top = float(np.finfo(np.float32).max)
    assert canonical(of_table((top, top, top))) != canonical(of_table((float("inf"), top, top)))
    with pytest.raises(FloatingPointError):
        canonical(of_table((1e300, 0.0, 0.0)))


def test_the_same_bytes_in_other_shapes_are_other_inputs() -> None:
    """Rows, widths that vary, and the borders between inputs are part of the form."""
    ragged = canonical_of(signature(("INT32", (-1, -1))))
    flat = np.arange(6, dtype=np.int32)
    assert len({ragged(of_tensors(flat.reshape(shape))) for shape in ((1, 6), (2, 3), (3, 2), (6, 1))}) == 4
    whole = canonical_of(signature(("INT32", (-1, -1)), batched=False))
    assert whole(of_tensors(flat.reshape(2, 3), rows=1)) != whole(of_tensors(flat.reshape(3, 2), rows=1))
    mixed = canonical_of(signature(("INT32", (-1, 1)), ("BYTES", (-1,))))
    number = np.array([[3]], np.int32)
    one = mixed(of_tensors(number, np.array([b"abc"], object)))
    two = mixed(of_tensors(np.array([[3], [3]], np.int32), np.array([b"abc", b""], object)))
    assert one != two
    texts = canonical_of(signature(("BYTES", (-1, 2))))
    parted = [np.array([row], object) for row in ((b"ab", b"c"), (b"a", b"bc"))]
    assert texts(of_tensors(parted[0])) != texts(of_tensors(parted[1]))


def test_columns_of_several_types_are_one_form_from_tables_and_tensors() -> None:
    """A model with an input per feature is asked the same by JSON rows and by binary columns."""
    house = signature(("FP32", (-1, 1)), ("INT64", (-1, 1)))
    house = Signature(
        task="other",
        inputs=house.inputs,
        outputs=OUT,
        features=(Feature(name="x0", datatype="FP32"), Feature(name="x1", datatype="INT64")),
    )
    form = canonical_of(house)
    assert form(of_table((1.5, 2), (2.5, 3))) == form(
        of_tensors(np.array([[1.5], [2.5]], np.float32), np.array([[2], [3]], np.int64))
    )
