"""Requests of the Open Inference Protocol become the table or the tensors of a call."""

from __future__ import annotations

import json

import numpy as np
import pytest

from kaname.errors import InvalidInput, TooLarge
from kaname.serving.oip.asked import Form, encoding_of
from kaname.tensors import encode_binary

from . import bench
from .bench import binary, filled, inputs_of, one_row, request, table_of, tensor, with_blobs


def form_of(body: object, headers: dict[bytes, bytes] | None = None) -> Form:
    form = filled(bench.IRIS, body, headers).form
    assert isinstance(form, Form)
    return form


def test_a_usual_request_becomes_one_row_and_asks_for_nothing_special() -> None:
    """The common body leaves its flat list as the row and no note."""
    call = filled(bench.IRIS, one_row())
    assert table_of(call) == [[5.1, 3.5, 1.4, 0.2]]
    assert (call.rows, call.form) == (1, None)


@pytest.mark.parametrize("data", [[1, 2, 3, 4, 5, 6, 7, 8], [[1, 2, 3, 4], [5, 6, 7, 8]]])
def test_flat_and_nested_data_are_the_same_rows(data: object) -> None:
    """The data of a tensor may be flat or nested as its shape."""
    call = filled(bench.IRIS, request(tensor("x", "FP32", [2, 4], data)))
    assert table_of(call) == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert call.rows == 2


def test_keys_may_come_in_any_order_and_unknown_ones_are_ignored() -> None:
    """JSON objects have no order, and the protocol may grow."""
    body = b'{"new":[{}],"inputs":[{"data":[1,2,3,4],"datatype":"FP32","extra":{},"shape":[1,4],"name":"x"}]}'
    assert table_of(filled(bench.IRIS, body)) == [[1, 2, 3, 4]]


def test_white_space_does_not_hide_nesting() -> None:
    """Nested data is recognised however it is laid out."""
    body = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data": [ \n [1,\t2,3,4]\n]}]}'
    assert table_of(filled(bench.IRIS, body)) == [[1, 2, 3, 4]]


def test_null_is_a_missing_value_of_a_nullable_feature_only() -> None:
    """null passes for `wind` and is refused by row and name for `hour`."""
    call = filled(bench.FLIGHTS, request(tensor("x", "FP64", [1, 3], [6, None, 2])))
    assert table_of(call) == [[6.0, None, 2.0]]
    with pytest.raises(InvalidInput, match=r"row 1, feature 'hour'.*found null"):
        filled(bench.FLIGHTS, request(tensor("x", "FP64", [2, 3], [6, 1, 2, None, 1, 0])))


def test_columns_come_in_any_order_with_names_of_categories_or_codes() -> None:
    """Each feature is a tensor; a category may be given as its string or as its position."""
    age = tensor("age", "FP32", [2, 1], [30, None])
    note = tensor("note", "BYTES", [2, 1], ["a", "b"])
    names = filled(bench.PEOPLE, request(note, tensor("town", "BYTES", [2, 1], ["Oslo", "Bergen"]), age))
    codes = filled(bench.PEOPLE, request(tensor("town", "INT64", [2, 1], [1, 0]), age, note))
    assert table_of(names) == table_of(codes) == [[30.0, 1.0, b"a"], [None, 0.0, b"b"]]


def test_columns_mix_json_and_binary() -> None:
    """Binary data belongs to the inputs in the order of the request, not of the signature."""
    note = encode_binary(np.array([b"x", b"\xff"], dtype=object))
    ages = np.array([1, 2], dtype="<f4").tobytes()
    head = request(
        binary("note", "BYTES", [2, 1], len(note)),
        tensor("town", "BYTES", [2, 1], ["Oslo", "Oslo"]),
        binary("age", "FP32", [2, 1], len(ages)),
    )
    call = filled(bench.PEOPLE, *with_blobs(head, note, ages))
    assert inputs_of(call) == [[[1.0], [2.0]], [[1], [1]], [[b"x"], [b"\xff"]]]
    assert call.tensors is not None
    assert [value.dtype.str for value in call.tensors] == ["<f4", "<i8", "|O"]


def test_names_of_categories_may_be_binary() -> None:
    """A categorical column in BYTES is understood in binary form, too."""
    town = encode_binary(np.array([b"Oslo"], dtype=object))
    head = request(
        tensor("age", "FP32", [1, 1], [3]),
        binary("town", "BYTES", [1, 1], len(town)),
        tensor("note", "BYTES", [1, 1], ["n"]),
    )
    assert table_of(filled(bench.PEOPLE, *with_blobs(head, town))) == [[3.0, 1.0, b"n"]]


def test_binary_rows_are_a_view_of_the_body_when_it_is_aligned() -> None:
    """A large request is not copied; a tensor at an odd address is, because a runtime may rely on alignment."""
    values = np.arange(8, dtype="<f4")
    for padding in range(8):
        head = request(binary("x", "FP32", [2, 4], 32), id="p" * padding)
        call = filled(bench.IRIS, *with_blobs(head, values.tobytes()))
        assert call.tensors is not None
        assert call.tensors[0].flags.aligned
        assert call.tensors[0].tolist() == values.reshape(2, 4).tolist()


def test_several_inputs_of_rows_keep_the_order_of_the_signature() -> None:
    """Plain tensors arrive as the model takes them, whatever the order of the request."""
    b = tensor("b", "BYTES", [1, 3], ["x", "", "ü"])
    a = tensor("a", "INT32", [1, 2, 2], [[[1, 2], [3, 4]]])
    expected = [[[[1, 2], [3, 4]]], [[b"x", b"", "ü".encode()]]]
    assert inputs_of(filled(bench.PAIR, request(b, a))) == expected
    assert inputs_of(filled(bench.PAIR, request(a, b))) == expected


def test_a_model_without_rows_takes_exactly_its_shape() -> None:
    """Without batching the first dimension is one of the model's own and counts no rows."""
    call = filled(bench.WHOLE, request(tensor("image", "UINT8", [2, 3], [0, 1, 2, 253, 254, 255])), max_rows=1)
    assert inputs_of(call) == [[[0, 1, 2], [253, 254, 255]]]
    assert call.rows == 1
    with pytest.raises(InvalidInput, match=r"shape: wrong shape; found \[1, 2, 3\]; expected \[2, any\]"):
        filled(bench.WHOLE, request(tensor("image", "UINT8", [1, 2, 3], [0] * 6)))


def test_too_many_rows_are_too_large_in_json_and_binary() -> None:
    """The limit of rows holds for every form, and is checked before the data is."""
    with pytest.raises(TooLarge, match="found 3; expected 1 to 2"):
        filled(bench.IRIS, request(tensor("x", "FP32", [3, 4], [0] * 12)), max_rows=2)
    with pytest.raises(TooLarge, match=r"inputs\[0\].shape\[0\]"):
        filled(bench.IRIS, *with_blobs(request(binary("x", "FP32", [10**12, 4], 0))), max_rows=2)


def test_the_callers_wishes_are_noted() -> None:
    """Id, outputs in their order, binary flags and classes are kept for the answer."""
    outputs = [
        {"name": "probabilities", "parameters": {"binary_data": False, "classification": 2, "mine": 1}},
        {"name": "label"},
    ]
    form = form_of(one_row(id="42", outputs=outputs, parameters={"binary_data_output": True, "tenant": "x"}))
    assert form.id == "42"
    assert [(w.index, w.binary, w.classes) for w in form.asked.outputs] == [(1, False, 2), (0, True, 0)]


def test_null_and_empty_wishes_ask_for_everything() -> None:
    """`outputs: []` and null fields mean the same as leaving them out."""
    call = filled(bench.IRIS, one_row(outputs=[], parameters=None, id=None))
    assert isinstance(call.form, Form)
    assert call.form.asked.plain


def test_timeout_is_microseconds_and_only_shortens_the_deadline() -> None:
    """The parameter `timeout` cannot give more time than the server does."""
    assert filled(bench.IRIS, one_row(parameters={"timeout": 5})).deadline_ns == 1_000 + 5_000
    assert filled(bench.IRIS, one_row(parameters={"timeout": 10**12})).deadline_ns == 30_000_000_000
    assert filled(bench.IRIS, one_row(parameters={"timeout": 0, "priority": 1})).deadline_ns == 30_000_000_000


def test_request_forms_are_remembered_within_bounds() -> None:
    """Callers that vary a custom parameter do not fill the memory."""
    tested = bench.codec(bench.IRIS)
    for i in range(600):
        tested.fill(bench.new_call(), json.dumps(one_row(parameters={"trace": i})).encode(), {})
    assert len(tested._reader._known) <= 256


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [
        (b"gzip", b"gzip"),
        (b"deflate", b"deflate"),
        (b"deflate, gzip;q=0.5, br", b"gzip"),
        (b"gzip;q=0, deflate", b"deflate"),
        (b"br", b""),
        (b"*", b"gzip"),
        (b"identity", b""),
        (b"*;q=0", b""),
        (b"", b""),
    ],
)
def test_compression_follows_accept_encoding(accepted: bytes, expected: bytes) -> None:
    """gzip before deflate, nothing that the caller excludes."""
    assert encoding_of(accepted) == expected


def test_content_types() -> None:
    """JSON and octet streams, as the protocol's clients send them; no forms."""
    tested = bench.codec(bench.IRIS)
    for good in (b"application/json; charset=utf-8", b"application/octet-stream", b"application/vnd.x+json"):
        assert tested.accepts(good)
    for bad in (b"text/plain", b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=x", b""):
        assert not tested.accepts(bad)
