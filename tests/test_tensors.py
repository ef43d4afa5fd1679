"""Tensors on the wire: what is encoded comes back, and damaged bytes are refused."""

from __future__ import annotations

import struct
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from kaname.errors import InvalidInput
from kaname.tensors import FLOATS, NUMPY_OF, datatype_of, decode_binary, encode_binary, fits

NUMERIC = sorted(NUMPY_OF.keys() - {"BYTES"})
ORDERS: st.SearchStrategy[Literal["<", ">", "="]] = st.sampled_from(("<", ">", "="))
SHAPES = arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)


@given(st.data(), st.sampled_from(NUMERIC), SHAPES, ORDERS)
def test_numbers_come_back_bit_for_bit(
    data: st.DataObject, datatype: str, shape: tuple[int, ...], order: Literal["<", ">", "="]
) -> None:
    """Any shape, empty ones and single numbers included, NaN and infinities included, from either byte order."""
    dtype = NUMPY_OF[datatype].newbyteorder(order)
    tensor = data.draw(arrays.arrays(dtype, shape))
    assert datatype_of(tensor.dtype) == datatype
    raw = encode_binary(tensor)
    again = decode_binary(raw, datatype, shape, "x")
    assert again.shape == shape
    assert again.dtype == NUMPY_OF[datatype]
    assert again.tobytes() == tensor.astype(NUMPY_OF[datatype]).tobytes()


@given(st.lists(st.binary(max_size=9), max_size=12), st.booleans())
def test_byte_strings_come_back(parts: list[bytes], column: bool) -> None:
    """Empty ones, and ones that look like lengths, included."""
    tensor = np.empty(len(parts), dtype=object)
    tensor[:] = parts
    shape = (len(parts), 1) if column else (len(parts),)
    again = decode_binary(memoryview(encode_binary(tensor.reshape(shape))), "BYTES", shape, "x")
    assert again.shape == shape
    assert again.ravel().tolist() == parts
    assert all(type(part) is bytes for part in again.ravel().tolist())


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)
"""What numpy keeps as it is (it drops NUL at the end) and UTF-8 can hold."""


@given(arrays.arrays("U5", SHAPES, elements=TEXT) | arrays.arrays("S5", SHAPES))
def test_numpy_s_own_strings_are_bytes_on_the_wire(tensor: Any) -> None:
    """Text as UTF-8, bytes as they are."""
    assert datatype_of(tensor.dtype) == "BYTES"
    again = decode_binary(encode_binary(tensor), "BYTES", tensor.shape, "x")
    assert again.shape == tensor.shape
    sent = [one.encode() if isinstance(one, str) else one for one in tensor.ravel().tolist()]
    assert again.ravel().tolist() == sent


def test_rows_of_a_transposed_matrix_are_sent_in_their_order() -> None:
    """Memory order is not the wire's order."""
    tensor = np.arange(6, dtype=np.float32).reshape(2, 3).T
    assert not tensor.flags.c_contiguous
    assert decode_binary(encode_binary(tensor), "FP32", (3, 2), "x").tolist() == tensor.tolist()


def test_decoding_copies_no_numbers() -> None:
    """The tensor shows the bytes that came; nobody can write to them."""
    tensor = decode_binary(bytes(8), "FP32", (2,), "x")
    assert not tensor.flags.owndata
    assert not tensor.flags.writeable


@given(st.binary(max_size=60), st.sampled_from(sorted(NUMPY_OF)), SHAPES)
def test_bytes_that_do_not_fit_are_refused_with_their_place(raw: bytes, datatype: str, shape: tuple[int, ...]) -> None:
    """Whatever comes: a tensor of exactly this shape, or InvalidInput that names the input."""
    try:
        found = decode_binary(raw, datatype, shape, "inputs[3]")
    except InvalidInput as error:
        where = error.where
        size = NUMPY_OF[datatype].itemsize * int(np.prod(shape, dtype=np.int64))
        assert datatype == "BYTES" or len(raw) != size
    else:
        where = "inputs[3]"
        assert found.shape == shape
    assert where == "inputs[3]"


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"\x01\x00\x00", "inside a length"),
        (b"\x05\x00\x00\x00abc", "past the end"),
        (struct.pack("<I", 2**32 - 1), "past the end"),
        (b"", "number of BYTES elements"),
        (bytes(8), "number of BYTES elements"),
    ],
)
def test_lengths_that_lie_are_refused(raw: bytes, said: str) -> None:
    """Nothing is read beyond the end, and no memory is taken for what is only announced."""
    with pytest.raises(InvalidInput, match=said):
        decode_binary(raw, "BYTES", (1,), "x")


@pytest.mark.parametrize("dtype", ["complex64", "datetime64[s]", "timedelta64[s]", "V4", "float128"])
def test_other_numpy_types_are_no_datatype(dtype: str) -> None:
    """The error lists those that are."""
    with pytest.raises(InvalidInput, match="FP32"):
        datatype_of(np.dtype(dtype))


def test_floats_are_the_datatypes_that_can_be_nan() -> None:
    """And only those."""
    assert {name for name, dtype in NUMPY_OF.items() if dtype.kind == "f"} == FLOATS


@given(SHAPES, st.lists(st.booleans(), min_size=4, max_size=4))
def test_a_shape_fits_itself_with_any_size_left_open(shape: tuple[int, ...], opened: list[bool]) -> None:
    """And no shape with another rank, or another size that is not open."""
    spec = tuple(-1 if free else size for size, free in zip(shape, opened, strict=False))
    assert fits(shape, spec)
    assert not fits((*shape, 1), spec)
    for i, size in enumerate(spec):
        changed = (*shape[:i], shape[i] + 1, *shape[i + 1 :])
        assert fits(changed, spec) is (size == -1)
