"""Answers of the Open Inference Protocol: JSON, binary, chosen outputs, classes, compression."""

from __future__ import annotations

import gzip
import json
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kaname.call import Answer, Outputs
from kaname.errors import Forbidden, InvalidInput, ModelFailed, Overloaded, RateLimited, Unauthenticated
from kaname.serving.oip.asked import Asked, Form, Wanted
from kaname.serving.oip.codec import refusal
from kaname.serving.oip.encode import Encoder, top_classes
from kaname.tensors import decode_binary

from . import bench
from .bench import LABELS, PROBABILITIES, answered, filled, one_row, request, tensor

ALL = Form(None, Asked((Wanted(0), Wanted(1)), plain=True), b"")


def test_one_row_of_a_run_that_others_share() -> None:
    """The answer holds its own row only, with all outputs in the signature's order."""
    call = filled(bench.IRIS, one_row())
    headers, body, _ = answered(bench.IRIS, call, LABELS, PROBABILITIES, start=1, stop=2)
    assert headers == {b"content-type": b"application/json", b"x-request-id": b"request-1"}
    assert body == {
        "model_name": "iris",
        "model_version": "3",
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": [1], "data": [0]},
            {"name": "probabilities", "datatype": "FP32", "shape": [1, 3], "data": [0.75, 0.125, 0.125]},
        ],
    }


@given(
    hnp.arrays(np.int64, 3),
    hnp.arrays(np.float32, (3, 3)),
    st.integers(0, 2),
    st.none() | st.text(),
)
def test_the_template_writes_what_the_general_way_writes(
    labels: np.ndarray, probabilities: np.ndarray, start: int, caller_id: str | None
) -> None:
    """Both ways give the same bytes, whatever the numbers and the caller's id are (a `%` in it included)."""
    encoder = Encoder(bench.IRIS, 'a"%s', "1%")
    answer = Answer(Outputs((labels, probabilities)), start, start + 1)
    usual = encoder.row(bench.new_call(), answer, caller_id)
    general, _ = encoder.whole(answer, Form(caller_id, ALL.asked, b""))
    assert usual == general
    assert json.loads(general).get("id") == caller_id


@pytest.mark.parametrize(
    "outputs",
    [
        (np.zeros((1, 1), np.int64), PROBABILITIES[:1]),
        (np.zeros(2, np.int64), np.zeros((2, 3), np.float32)),
        (np.zeros(0, np.int64), np.zeros((0, 3), np.float32)),
        (np.zeros((), np.int64), np.zeros((1, 3), np.float32)),
    ],
)
def test_outputs_of_other_shapes_than_declared_are_told_as_they_are(outputs: tuple[np.ndarray, ...]) -> None:
    """The template is for what the signature says; whatever else comes is described, never cut."""
    _, body, _ = answered(bench.IRIS, filled(bench.IRIS, one_row()), *outputs)
    assert [output["shape"] for output in body["outputs"]] == [list(value.shape) for value in outputs]
    assert [output["data"] for output in body["outputs"]] == [value.ravel().tolist() for value in outputs]


def test_a_number_that_is_none_is_null_in_json_and_exact_in_binary() -> None:
    """NaN and infinities have no form in JSON."""
    broken = np.array([[np.nan, np.inf, 0.5]], dtype=np.float32)
    _, body, _ = answered(bench.IRIS, filled(bench.IRIS, one_row()), LABELS[:1], broken)
    assert body["outputs"][1]["data"] == [None, None, 0.5]
    call = filled(bench.IRIS, one_row(outputs=[{"name": "probabilities", "parameters": {"binary_data": True}}]))
    _, body, rest = answered(bench.IRIS, call, LABELS[:1], broken)
    assert np.array_equal(decode_binary(rest, "FP32", (1, 3), "y"), broken, equal_nan=True)


def test_outputs_in_the_order_asked_for_binary_only_where_asked() -> None:
    """Sizes follow the order of the outputs; the header gives the length of the JSON."""
    outputs = [{"name": "probabilities", "parameters": {"binary_data": True}}, {"name": "label"}]
    call = filled(bench.IRIS, request(tensor("x", "FP32", [2, 4], [0] * 8), outputs=outputs, id="q"))
    headers, body, rest = answered(bench.IRIS, call, LABELS, PROBABILITIES)
    assert headers[b"content-type"] == b"application/octet-stream"
    assert body["id"] == "q"
    assert [output["name"] for output in body["outputs"]] == ["probabilities", "label"]
    assert body["outputs"][0]["parameters"] == {"binary_data_size": 24}
    assert "data" not in body["outputs"][0]
    assert body["outputs"][1]["data"] == [2, 0]
    assert rest == PROBABILITIES.tobytes()


def test_binary_for_all_but_one() -> None:
    """`binary_data` of an output overrides `binary_data_output` of the request."""
    outputs = [{"name": "label", "parameters": {"binary_data": False}}, {"name": "probabilities"}]
    call = filled(bench.IRIS, one_row(outputs=outputs, parameters={"binary_data_output": True}))
    _, body, rest = answered(bench.IRIS, call, LABELS[:1], PROBABILITIES[:1])
    assert body["outputs"][0]["data"] == [2]
    assert rest == PROBABILITIES[:1].tobytes()


def test_binary_outputs_are_the_callers_own_rows() -> None:
    """Rows of batch mates never leave in binary form, either."""
    call = filled(bench.IRIS, one_row(parameters={"binary_data_output": True}))
    _, body, rest = answered(bench.IRIS, call, LABELS, PROBABILITIES, start=1, stop=2)
    assert body["outputs"][1]["shape"] == [1, 3]
    assert rest == LABELS[1:].tobytes() + PROBABILITIES[1:].tobytes()


def test_classes_as_value_index_label() -> None:
    """The classification extension: the highest values, their index and label, per row."""
    outputs = [{"name": "probabilities", "parameters": {"classification": 2}}]
    call = filled(bench.IRIS, request(tensor("x", "FP32", [2, 4], [0] * 8), outputs=outputs))
    _, body, _ = answered(bench.IRIS, call, LABELS, PROBABILITIES)
    assert body["outputs"] == [
        {
            "name": "probabilities",
            "datatype": "BYTES",
            "shape": [2, 2],
            "data": ["0.500000:2:virginica", "0.250000:0:setosa", "0.750000:0:setosa", "0.125000:1:versicolor"],
        }
    ]


def test_more_classes_than_there_are_and_no_labels() -> None:
    """All classes are returned, NaN last; without a label for each, value and index."""
    scores = np.array([3, np.nan, 7], dtype=np.float32)
    found = top_classes(scores, 9, ("a", "b"), batched=False)
    assert found.tolist() == [b"7.000000:2", b"3.000000:0", b"nan:1"]
    counts = top_classes(np.array([[5, 5, 6]], dtype=np.uint8), 3, (), batched=True)
    assert counts.tolist() == [[b"6:2", b"5:0", b"5:1"]]


def test_text_outputs() -> None:
    """BYTES are strings in JSON, and exact in binary."""
    words = np.array([b"gr\xc3\xbcn", b"\xff"], dtype=object)
    body = request(
        tensor("age", "FP32", [2, 1], [1, 2]),
        tensor("town", "INT64", [2, 1], [0, 1]),
        tensor("note", "BYTES", [2, 1], ["", ""]),
    )
    _, answer, _ = answered(bench.PEOPLE, filled(bench.PEOPLE, body), words)
    assert answer["outputs"] == [{"name": "word", "datatype": "BYTES", "shape": [2], "data": ["grün", "\ufffd"]}]
    call = filled(bench.PEOPLE, {**body, "parameters": {"binary_data_output": True}})
    _, _, rest = answered(bench.PEOPLE, call, words)
    assert decode_binary(rest, "BYTES", (2,), "word").tolist() == words.tolist()


@pytest.mark.parametrize(("name", "undo"), [(b"gzip", gzip.decompress), (b"deflate", zlib.decompress)])
def test_large_answers_are_compressed_when_the_caller_can_read_it(name: bytes, undo: object) -> None:
    """The binary header's length is of the answer before compression; small answers are sent as they are."""
    assert callable(undo)
    outputs = [{"name": "probabilities", "parameters": {"binary_data": True}}, {"name": "label"}]
    body = request(tensor("x", "FP32", [90, 4], [0] * 360), outputs=outputs)
    call = filled(bench.IRIS, body, {b"accept-encoding": name})
    probabilities = np.tile(PROBABILITIES, (45, 1))
    head, sent = bench.codec(bench.IRIS).answer(call, Answer(Outputs((np.tile(LABELS, 45), probabilities)), 0, None), 1)
    assert b"content-encoding: %b\r\nvary: accept-encoding\r\n" % name in head
    plain = undo(sent)
    assert len(sent) < len(plain)
    size = int(head.split(bench.LENGTH + b": ")[1].split(b"\r\n")[0])
    assert len(json.loads(plain[:size])["outputs"]) == 2
    assert plain[size:] == probabilities.tobytes()
    small = filled(bench.IRIS, one_row(), {b"accept-encoding": name})
    headers, _, _ = answered(bench.IRIS, small, LABELS[:1], PROBABILITIES[:1])
    assert b"content-encoding" not in headers


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (InvalidInput("bad", where="inputs", found="1", expected="2"), 400, b""),
        (Unauthenticated("who"), 401, b"www-authenticate: Bearer"),
        (Forbidden("no"), 403, b""),
        (RateLimited("slow", retry_after_s=1.2), 429, b"retry-after: 2\r\n"),
        (Overloaded("full"), 503, b"retry-after: 1\r\n"),
        (ModelFailed("oops"), 500, b""),
    ],
)
def test_errors_have_the_protocols_form(error: InvalidInput, status: int, line: bytes) -> None:
    """One member, `error`, with place, found and expected; retry and challenge as HTTP has them."""
    found, head, body = refusal(error, "request-9")
    assert found == status
    assert line in head
    assert b"content-type: application/json\r\n" in head
    assert json.loads(body) == {"error": str(error)}


def test_a_status_that_only_http_knows() -> None:
    """The door may say 408 or 413 where the error's class does not."""
    assert refusal(InvalidInput("late"), "r", 408)[0] == 408
