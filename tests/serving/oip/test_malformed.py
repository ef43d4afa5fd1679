"""Malformed requests: each is refused with a status of the caller's fault, and the error names place and cause."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest

from kaname.errors import KanameError
from kaname.serving.endpoint import HeaderMap
from kaname.serving.oip.codec import refusal
from kaname.signature import Signature

from . import bench
from .bench import FLIGHTS, IRIS, PAIR, PEOPLE, WHOLE, binary, one_row, request, tensor, tensors_of, with_blobs

X = [5.1, 3.5, 1.4, 0.2]


class Case(NamedTuple):
    """A request and words that its error must hold."""

    name: str
    signature: Signature
    body: Any
    words: tuple[str, ...]
    headers: HeaderMap = {}  # noqa: RUF012  (never written to)
    status: int = 400


def framed(name: str, signature: Signature, head: dict[str, Any], blob: bytes, *words: str) -> Case:
    body, headers = with_blobs(head, blob)
    return Case(name, signature, body, words, headers)


def lengthy(name: str, length: bytes, *words: str) -> Case:
    return Case(name, IRIS, one_row(), ("inference-header-content-length", *words), {bench.LENGTH: length})


def x(**changes: Any) -> dict[str, Any]:
    return request({**tensor("x", "FP32", [1, 4], X), **changes})


def without(key: str) -> dict[str, Any]:
    given = tensor("x", "FP32", [1, 4], X)
    del given[key]
    return request(given)


def wanting(*outputs: dict[str, Any]) -> dict[str, Any]:
    return one_row(outputs=list(outputs))


def pair(**b: Any) -> dict[str, Any]:
    a = tensor("a", "INT32", [1, 2, 2], [1, 2, 3, 4])
    return request(a, {**tensor("b", "BYTES", [1, 2], ["x", "y"]), **b})


def person(**town: Any) -> dict[str, Any]:
    given = {**tensor("town", "INT64", [1, 1], [0]), **town}
    return request(tensor("age", "FP32", [1, 1], [3]), given, tensor("note", "BYTES", [1, 1], ["n"]))


def ints(datatype: str, *values: Any) -> dict[str, Any]:
    return request(tensor("x", datatype, [1, len(values)], list(values)))


NAN, INF = (0, 0, 0xC0, 0x7F), (0, 0, 0x80, 0x7F)
FLOATS = request(binary("x", "FP32", [2, 4], 32))
BOOLS = request(binary("x", "BOOL", [1, 3], 3))
WORDS = request(tensor("a", "INT32", [1, 2, 2], [1, 2, 3, 4]), binary("b", "BYTES", [1, 2], 10))

CASES = [
    # the JSON itself
    Case("nothing", IRIS, b"", ("body",)),
    Case("no JSON", IRIS, b"{inputs}", ("body", "malformed")),
    Case("ends early", IRIS, b'{"inputs":[{"name":"x"', ("body",)),
    Case("trailing bytes", IRIS, json.dumps(one_row()).encode() + b"x", ("body",)),
    Case("not UTF-8", IRIS, b'{"inputs":[],"id":"\xff"}', ("body", "UTF-8")),
    Case("a list", IRIS, b"[]", ("body", "found array", "expected object")),
    Case("nested deeply", IRIS, b'{"x":' + b"[" * 100_000, ("body",)),
    Case("NaN is no JSON", IRIS, json.dumps(x()).replace("0.2", "NaN").encode(), ("body",)),
    # inputs
    Case("no inputs", IRIS, {}, ("inputs",)),
    Case("inputs as an object", IRIS, {"inputs": {}}, ("inputs", "found object", "expected array")),
    Case("no input at all", IRIS, {"inputs": []}, ("inputs", "'x' is missing", "found 0", "expected x")),
    Case("unknown input", IRIS, x(name="y"), ("inputs[0].name", "'y'", "expected x")),
    Case(
        "input twice",
        IRIS,
        request(tensor("x", "FP32", [1, 4], X), tensor("x", "FP32", [1, 4], X)),
        ("inputs[1].name", "twice"),
    ),
    Case(
        "one of two missing",
        PAIR,
        request(tensor("a", "INT32", [1, 2, 2], [1, 2, 3, 4])),
        ("inputs", "'b' is missing", "expected a, b"),
    ),
    Case("no name", IRIS, without("name"), ("inputs[0]", "name")),
    Case("no shape", IRIS, without("shape"), ("inputs[0]", "shape")),
    Case("no datatype", IRIS, without("datatype"), ("inputs[0]", "datatype")),
    Case("no data", IRIS, without("data"), ("inputs[0]", "neither", "binary_data_size")),
    Case("a number as name", IRIS, x(name=1), ("inputs[0].name", "found int", "expected str")),
    Case("a number as id", IRIS, one_row(id=7), ("id", "found int", "expected str")),
    # datatypes and shapes
    Case("another datatype", IRIS, x(datatype="FP64"), ("inputs[0].datatype", "found FP64", "expected FP32")),
    Case(
        "no such datatype", IRIS, x(datatype="FLOAT"), ("inputs[0].datatype", "no such", "found FLOAT", "expected FP32")
    ),
    Case("BF16", IRIS, x(datatype="BF16"), ("inputs[0].datatype", "found BF16", "expected FP32")),
    Case("too narrow", IRIS, x(shape=[1, 3]), ("inputs[0].shape", "found [1, 3]", "expected [any, 4]")),
    Case("no row dimension", IRIS, x(shape=[4]), ("inputs[0].shape", "found [4]", "expected [any, 4]")),
    Case("a scalar", IRIS, x(shape=[]), ("inputs[0].shape", "found []", "expected [any, 4]")),
    Case("negative rows", IRIS, x(shape=[-1, 4]), ("inputs[0].shape", "expected [any, 4]")),
    Case("no rows", IRIS, x(shape=[0, 4], data=[]), ("inputs[0].shape[0]", "found 0", "expected 1 to 100")),
    Case("half a row", IRIS, x(shape=[1.5, 4]), ("inputs[0].shape[0]", "found float", "expected int")),
    Case(
        "too many rows", IRIS, x(shape=[101, 4]), ("inputs[0].shape[0]", "found 101", "expected 1 to 100"), status=413
    ),
    Case("different rows", PAIR, pair(shape=[2, 1]), ("inputs[1].shape[0]", "found 2", "expected 1")),
    Case(
        "wrong size without rows",
        WHOLE,
        request(tensor("image", "UINT8", [3, 1], [1, 2, 3])),
        ("inputs[0].shape", "found [3, 1]", "expected [2, any]"),
    ),
    # data as JSON
    Case("too little data", IRIS, x(data=[1, 2, 3]), ("inputs[0].data", "found 3 elements", "expected 4")),
    Case("too much data", IRIS, x(data=[1, 2, 3, 4, 5]), ("inputs[0].data", "found 5 elements", "expected 4")),
    Case(
        "ragged rows",
        IRIS,
        x(shape=[2, 4], data=[[1, 2, 3, 4], [1, 2, 3]]),
        ("inputs[0].data[1]", "found 3 elements", "expected 4"),
    ),
    Case(
        "too few rows", IRIS, x(shape=[2, 4], data=[[1, 2, 3, 4]]), ("inputs[0].data", "found 1 elements", "expected 2")
    ),
    Case(
        "nested too deeply for its shape",
        IRIS,
        x(data=[[[1, 2, 3, 4]]]),
        ("inputs[0].data", "found 3 levels", "2 levels"),
    ),
    Case("flat and nested mixed", IRIS, x(data=[[1, 2, 3], 4]), ("inputs[0].data[1]", "found int", "expected array")),
    Case("a string for a number", IRIS, x(data=[1, 2, "3", 4]), ("inputs[0].data[2]", "found str", "expected float")),
    Case(
        "null where it may not be", IRIS, x(data=[1, None, 3, 4]), ("inputs[0].data[1]", "found null", "expected float")
    ),
    Case("data as an object", IRIS, x(data={"a": 1}), ("inputs[0].data", "found object", "expected array")),
    Case(
        "beyond double precision",
        IRIS,
        json.dumps(x()).replace("0.2", "1e999").encode(),
        ("inputs[0].data[3]", "out of range"),
    ),
    Case("beyond FP32", tensors_of("FP32"), ints("FP32", 1, 1e39), ("inputs[0].data[1]", "found 1e+39", "FP32")),
    Case("beyond FP16", tensors_of("FP16"), ints("FP16", 70000), ("inputs[0].data[0]", "found 70000.0", "FP16")),
    Case("beyond INT8", tensors_of("INT8"), ints("INT8", 128), ("inputs[0].data[0]", "127")),
    Case("below UINT16", tensors_of("UINT16"), ints("UINT16", -1), ("inputs[0].data[0]", "0")),
    Case("beyond UINT64", tensors_of("UINT64"), ints("UINT64", 2**64), ("inputs[0].data[0]", str(2**64), "UINT64")),
    Case("below INT64", tensors_of("INT64"), ints("INT64", 1, -(2**63) - 1), ("inputs[0].data[1]", "INT64")),
    Case(
        "a fraction for an integer",
        tensors_of("INT32"),
        ints("INT32", 1.5),
        ("inputs[0].data[0]", "found float", "expected int"),
    ),
    Case("a number for BOOL", tensors_of("BOOL"), ints("BOOL", 1), ("inputs[0].data[0]", "found int", "expected bool")),
    Case(
        "a number for BYTES", tensors_of("BYTES"), ints("BYTES", 1), ("inputs[0].data[0]", "found int", "expected str")
    ),
    # features
    Case(
        "null for a required feature",
        FLIGHTS,
        request(tensor("x", "FP64", [1, 3], [None, 1, 1])),
        ("row 0, feature 'hour'", "found null"),
    ),
    Case(
        "no such code",
        FLIGHTS,
        request(tensor("x", "FP64", [1, 3], [1, 1, 3])),
        ("row 0, feature 'carrier'", "found 3.0", "0 to 2", "AA, UA, WN"),
    ),
    Case(
        "half a code",
        FLIGHTS,
        request(tensor("x", "FP64", [1, 3], [1, 1, 0.5])),
        ("row 0, feature 'carrier'", "found 0.5"),
    ),
    Case(
        "unknown category",
        PEOPLE,
        person(datatype="BYTES", data=["Rome"]),
        ("row 0, feature 'town'", "'Rome'", "Bergen, Oslo"),
    ),
    Case("no such code in a column", PEOPLE, person(data=[-1]), ("row 0, feature 'town'", "found -1", "0 to 1")),
    # binary data
    lengthy("a length that is none", b"12x", "12x", "number of bytes"),
    lengthy("a negative length", b"-1", "-1"),
    lengthy("an empty length", b""),
    lengthy("an absurd length", b"9" * 30),
    lengthy("longer than the body", b"100000", "found 100000"),
    Case("shorter than the JSON", IRIS, one_row(), ("body",), {bench.LENGTH: b"10"}),
    framed(
        "too little binary data",
        IRIS,
        FLOATS,
        bytes(31),
        "inputs[0].parameters.binary_data_size",
        "found 31 bytes",
        "expected 32",
    ),
    framed("too much binary data", IRIS, FLOATS, bytes(33), "body", "found 1 bytes more"),
    framed(
        "a size that does not fit the shape",
        IRIS,
        request(binary("x", "FP32", [1, 4], 15)),
        bytes(15),
        "inputs[0]",
        "found 15 bytes",
        "expected 16",
    ),
    framed("a negative size", IRIS, request(binary("x", "FP32", [1, 4], -16)), b"", "binary_data_size", "found -16"),
    framed("a size in words", IRIS, request(binary("x", "FP32", [1, 4], "16")), bytes(16), "binary_data_size", "'16'"),
    framed("JSON and binary", IRIS, x(parameters={"binary_data_size": 16}), bytes(16), "inputs[0]", "one of them"),
    Case(
        "binary data without the header",
        IRIS,
        request(binary("x", "FP32", [1, 4], 16)),
        ("binary_data_size", "found 0 bytes left"),
    ),
    framed(
        "NaN for a required feature",
        IRIS,
        FLOATS,
        bytes(20) + bytes(NAN) + bytes(8),
        "row 1, feature 'sepal_width'",
        "found nan",
        "finite",
    ),
    framed(
        "infinity for a required feature",
        IRIS,
        FLOATS,
        bytes(28) + bytes(INF),
        "row 1, feature 'petal_width'",
        "found inf",
    ),
    framed("two for BOOL", tensors_of("BOOL"), BOOLS, b"\0\1\2", "inputs[0]", "byte 2 at 2", "0 or 1"),
    framed(
        "a BYTES element past the end",
        PAIR,
        WORDS,
        b"\1\0\0\0a\2\0\0\0b",
        "inputs[1]",
        "found 1 bytes",
        "expected 2 bytes",
    ),
    framed(
        "a BYTES length cut short", PAIR, WORDS, b"\4\0\0\0abcd\1\0", "inputs[1]", "found 2 bytes", "expected 4 bytes"
    ),
    framed("too few BYTES elements", PAIR, WORDS, b"\6\0\0\0abcdef", "inputs[1]", "found 1", "expected 2"),
    # what is asked for
    Case("outputs as an object", IRIS, one_row(outputs={}), ("outputs", "found object", "expected array")),
    Case("an output without a name", IRIS, wanting({}), ("outputs[0]", "name")),
    Case(
        "unknown output",
        IRIS,
        wanting({"name": "label"}, {"name": "score"}),
        ("outputs[1].name", "'score'", "label, probabilities"),
    ),
    Case("output twice", IRIS, wanting({"name": "label"}, {"name": "label"}), ("outputs[1].name", "twice")),
    Case(
        "binary_data as a word",
        IRIS,
        wanting({"name": "label", "parameters": {"binary_data": "yes"}}),
        ("outputs[0].parameters.binary_data", "'yes'", "true or false"),
    ),
    Case(
        "binary_data_output as a number",
        IRIS,
        one_row(parameters={"binary_data_output": 1}),
        ("parameters.binary_data_output", "found 1"),
    ),
    Case(
        "no classes",
        IRIS,
        wanting({"name": "label", "parameters": {"classification": 0}}),
        ("outputs[0].parameters.classification", "found 0", "at least 1"),
    ),
    Case(
        "classes of words",
        PEOPLE,
        {**person(), "outputs": [{"name": "word", "parameters": {"classification": 1}}]},
        ("outputs[0].parameters.classification", "found BYTES", "numeric"),
    ),
    Case(
        "shared memory for an input",
        IRIS,
        x(parameters={"shared_memory_region": "r"}),
        ("inputs[0].parameters.shared_memory_region", "no shared memory"),
    ),
    Case(
        "shared memory for an output",
        IRIS,
        wanting({"name": "label", "parameters": {"shared_memory_region": "r"}}),
        ("outputs[0].parameters.shared_memory_region",),
    ),
    Case(
        "a sequence",
        IRIS,
        one_row(parameters={"sequence_id": 4, "sequence_start": True}),
        ("parameters.sequence_id", "found 4", "no sequence"),
    ),
    Case("parameters as a list", IRIS, one_row(parameters=[]), ("parameters", "found array", "expected object")),
    Case(
        "a negative timeout",
        IRIS,
        one_row(parameters={"timeout": -1}),
        ("parameters.timeout", "found -1", "at least 0"),
    ),
    Case("a timeout in words", IRIS, one_row(parameters={"timeout": "1s"}), ("parameters.timeout", "'1s'")),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_is_refused_with_its_place(case: Case) -> None:
    """4xx, in the protocol's form, with where, found and expected; and the codec goes on as before."""
    raw = case.body if isinstance(case.body, bytes) else json.dumps(case.body).encode()
    codec = bench.codec(case.signature)
    call = bench.new_call()
    with pytest.raises(KanameError) as caught:
        codec.fill(call, raw, case.headers)
    status, _, body = refusal(caught.value, "request-1")
    assert status == case.status
    message = json.loads(body)["error"]
    for word in case.words:
        assert word in message
    assert call.table is None


def test_a_good_request_after_bad_ones_is_answered() -> None:
    """Nothing that was refused leaves a trace in the codec."""
    codec = bench.codec(IRIS)
    for case in CASES:
        if case.signature is IRIS:
            raw = case.body if isinstance(case.body, bytes) else json.dumps(case.body).encode()
            with pytest.raises(KanameError):
                codec.fill(bench.new_call(), raw, case.headers)
    call = bench.new_call()
    codec.fill(call, json.dumps(one_row()).encode(), {})
    assert bench.table_of(call) == [X]


def test_there_are_enough() -> None:
    """Each case has a name of its own."""
    assert len({case.name for case in CASES}) == len(CASES) >= 60
