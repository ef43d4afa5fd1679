"""Every datatype comes in and goes out unchanged, as JSON and as binary data."""

from __future__ import annotations

import json
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kaname.call import Answer, Outputs
from kaname.tensors import NUMPY_OF, Datatype, decode_binary, encode_binary

from . import bench
from .bench import binary, codec, filled, request, tensor, with_blobs

DATATYPES = get_args(Datatype)
SHAPES = st.tuples(st.integers(1, 4), st.integers(0, 4), st.integers(0, 3))


@st.composite
def arrays(draw: st.DrawFn, datatype: str, *, text: bool = False) -> np.ndarray:
    shape = draw(SHAPES)
    if datatype != "BYTES":
        elements = {"allow_nan": False, "allow_infinity": False} if text and datatype.startswith("FP") else {}
        return draw(hnp.arrays(NUMPY_OF[datatype], shape, elements=elements or None))
    count = int(np.prod(shape))
    kind = st.text(max_size=5).map(str.encode) if text else st.binary(max_size=5)
    values = np.empty(count, dtype=object)
    values[:] = draw(st.lists(kind, min_size=count, max_size=count))
    return values.reshape(shape)


def as_json(values: np.ndarray, *, nested: bool) -> Any:
    plain = [v.decode() if isinstance(v, bytes) else v for v in values.ravel().tolist()]
    if not nested:
        return plain
    shaped = np.empty(values.size, dtype=object)
    shaped[:] = plain
    return shaped.reshape(values.shape).tolist()


def same(found: np.ndarray, expected: np.ndarray) -> bool:
    if found.dtype == object:
        return found.shape == expected.shape and found.tolist() == expected.tolist()
    return found.dtype == expected.dtype and found.shape == expected.shape and found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("datatype", DATATYPES)
@settings(max_examples=25, deadline=None)
@given(data=st.data(), nested=st.booleans())
def test_json(datatype: Datatype, data: st.DataObject, nested: bool) -> None:
    """Values written as JSON are the tensor of the call, and the answer's JSON is the values again."""
    signature = bench.tensors_of(datatype, rank=3)
    values = data.draw(arrays(datatype, text=True))
    nested = nested and values.size > 0
    call = filled(signature, request(tensor("x", datatype, list(values.shape), as_json(values, nested=nested))))
    assert call.tensors is not None
    assert same(call.tensors[0], values)
    _, body = codec(signature).answer(call, Answer(Outputs((values,)), 0, None), 1)
    (output,) = json.loads(body)["outputs"]
    assert (output["datatype"], output["shape"]) == (datatype, list(values.shape))
    back = filled(signature, request({**output, "name": "x"}))
    assert back.tensors is not None
    assert same(back.tensors[0], values)


@pytest.mark.parametrize("datatype", DATATYPES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_binary(datatype: Datatype, data: st.DataObject) -> None:
    """Binary data keeps every bit in both directions, NaN payloads and bytes that are no text included."""
    signature = bench.tensors_of(datatype, rank=3)
    values = data.draw(arrays(datatype))
    blob = encode_binary(values)
    head = request(binary("x", datatype, list(values.shape), len(blob)), parameters={"binary_data_output": True})
    call = filled(signature, *with_blobs(head, blob))
    assert call.tensors is not None
    assert same(call.tensors[0], values)
    lines, body = codec(signature).answer(call, Answer(Outputs((values,)), 0, None), 1)
    size = int(lines.split(bench.LENGTH + b": ")[1].split(b"\r\n")[0])
    (output,) = json.loads(body[:size])["outputs"]
    assert output["parameters"]["binary_data_size"] == len(body) - size
    assert same(decode_binary(body[size:], datatype, tuple(output["shape"]), "y"), values)


@settings(max_examples=50, deadline=None)
@given(st.permutations(["age", "town", "note"]), st.sets(st.sampled_from(["age", "town", "note"])))
def test_any_order_and_any_mix_of_forms(order: list[str], as_binary: set[str]) -> None:
    """However the inputs are ordered and sent, the model receives the same."""
    values: dict[str, np.ndarray] = {
        "age": np.array([[1.5], [2.5]], dtype=np.float32),
        "town": np.array([[1], [0]], dtype=np.int64),
        "note": np.array([["é".encode()], [b""]], dtype=object),
    }
    inputs, blobs = [], []
    for name in order:
        value = values[name]
        datatype = {spec.name: spec.datatype for spec in bench.PEOPLE.inputs}[name]
        if name in as_binary:
            blobs.append(encode_binary(value))
            inputs.append(binary(name, datatype, [2, 1], len(blobs[-1])))
        else:
            inputs.append(tensor(name, datatype, [2, 1], as_json(value, nested=False)))
    call = filled(bench.PEOPLE, *with_blobs(request(*inputs), *blobs))
    expected = [[1.5, 1, "é".encode()], [2.5, 0, b""]]
    if as_binary:
        assert call.tensors is not None
        assert [list(row) for row in zip(*(v.ravel().tolist() for v in call.tensors), strict=True)] == expected
    else:
        assert bench.table_of(call) == expected
