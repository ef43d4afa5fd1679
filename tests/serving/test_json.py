"""The JSON protocol: bodies become exactly the rows they name, answers are always JSON."""

from __future__ import annotations

import gc
import json
import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaname.call import Answer, Call, Outputs, Principal
from kaname.errors import InvalidInput
from kaname.serving.json_codec import JsonCodec
from kaname.signature import Feature, OutputSpec, Signature
from kaname.tensors import Tensor, TensorSpec

WHO = Principal("k", "tester", may_predict=None, scopes=frozenset())
PROBABILITIES = OutputSpec(name="p", datatype="FP32", shape=(-1, 2), role="probabilities")
LABEL = OutputSpec(name="label", datatype="INT64", shape=(-1,), role="label")
VALUE = OutputSpec(name="v", datatype="FP64", shape=(-1, 1), role="value")
TABULAR = Signature(
    task="classification",
    inputs=(
        TensorSpec(name="age", datatype="FP32", shape=(-1, 1)),
        TensorSpec(name="town", datatype="FP32", shape=(-1, 1)),
        TensorSpec(name="count", datatype="INT32", shape=(-1, 1)),
        TensorSpec(name="note", datatype="BYTES", shape=(-1, 1)),
        TensorSpec(name="flag", datatype="BOOL", shape=(-1, 1)),
    ),
    outputs=(LABEL, PROBABILITIES),
    features=(
        Feature(name="age", datatype="FP32", nullable=True),
        Feature(name="town", datatype="FP32", categories=("Oslo", "Rome"), nullable=True),
        Feature(name="count", datatype="INT32"),
        Feature(name="note", datatype="BYTES"),
        Feature(name="flag", datatype="BOOL"),
    ),
    labels=("100% sure", 'a "b"'),
)
SCORES = Signature(task="regression", inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 2)),), outputs=(VALUE,))
NESTED = Signature(
    task="other",
    inputs=(
        TensorSpec(name="a", datatype="INT8", shape=(-1, 2, 2)),
        TensorSpec(name="b", datatype="BYTES", shape=(-1, -1)),
    ),
    outputs=(
        OutputSpec(name="words", datatype="BYTES", shape=(-1, -1)),
        OutputSpec(name="sum", datatype="FP32", shape=(-1,)),
    ),
)
WHOLE = Signature(
    task="other",
    inputs=(TensorSpec(name="image", datatype="FP32", shape=(2, -1)),),
    outputs=(OutputSpec(name="total", datatype="FP32", shape=()),),
    batched=False,
)


def filled(signature: Signature, body: object) -> Call:
    call = Call("r-1", WHO, lambda _, __: None, 0)
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    JsonCodec(signature, "m", "1", 100).fill(call, raw)
    return call


def told(signature: Signature, form: str, rows: int, *tensors: Tensor, start: int = 0) -> dict[str, Any]:
    """The answer, read by a parser that takes nothing but JSON."""
    call = Call("r-1", WHO, lambda _, __: None, rows)
    call.form = "features" if form == "features" else "instances"
    head, body = JsonCodec(signature, "m", "1", 100).answer(
        call, Answer(Outputs(tensors), start, start + rows), 1_500_000
    )
    assert head == b"content-type: application/json\r\nx-request-id: r-1\r\n"

    def refuse(constant: str) -> Any:
        raise AssertionError(f"{constant} is no JSON")

    found: dict[str, Any] = json.loads(body, parse_constant=refuse)
    assert (found["model"], found["version"], found["request_id"], found["latency_ms"]) == ("m", "1", "r-1", 1.5)
    return found


texts = st.text(st.characters(codec="utf-8"), max_size=8)
people = st.fixed_dictionaries(
    {
        "age": st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False),
        "town": st.sampled_from(["Oslo", "Rome", "elsewhere", None]),
        "count": st.integers(-(2**31), 2**31 - 1),
        "note": texts,
        "flag": st.booleans(),
    }
)


def cells_of(person: dict[str, Any]) -> list[Any]:
    code = {"Oslo": 0.0, "Rome": 1.0}.get(person["town"])
    return [person["age"], code, person["count"], person["note"].encode(), person["flag"]]


@given(st.lists(st.tuples(people, st.booleans()), min_size=1, max_size=5))
def test_rows_by_name_and_in_order_are_the_same_cells(rows: list[tuple[dict[str, Any], bool]]) -> None:
    """Features of every kind: numbers, null, categories, whole numbers, texts, booleans."""
    sent = [person if named else [person[f.name] for f in TABULAR.features] for person, named in rows]
    many = filled(TABULAR, {"instances": sent})
    assert many.table is not None
    assert [list(row) for row in many.table] == [cells_of(person) for person, _ in rows]
    one = filled(TABULAR, {"features": sent[0]})
    assert one.table is not None
    assert [list(row) for row in one.table] == [cells_of(rows[0][0])]


squares = st.lists(st.integers(-128, 127), min_size=4, max_size=4)
pairs = st.lists(texts, min_size=2, max_size=2)


@given(st.lists(st.tuples(squares, pairs), min_size=1, max_size=4))
def test_tensors_keep_every_element(rows: list[tuple[list[int], list[str]]]) -> None:
    """Nested lists and texts of any length and content."""
    call = filled(NESTED, {"instances": [{"a": [a[:2], a[2:]], "b": b} for a, b in rows]})
    assert call.tensors is not None
    a, b = call.tensors
    assert a.dtype == np.dtype(np.int8)
    assert b.dtype == np.dtype(object)
    assert a.reshape(len(rows), 4).tolist() == [row[0] for row in rows]
    assert b.tolist() == [[text.encode() for text in row[1]] for row in rows]


def test_a_long_text_among_many_costs_its_own_length() -> None:
    """A megabyte beside ten thousand empty texts does not take ten thousand megabytes."""
    call = filled(NESTED, {"features": {"a": [[1, 2], [3, 4]], "b": ["x" * 1_000_000, *[""] * 10_000]}})
    assert call.tensors is not None
    assert call.tensors[1].shape == (1, 10_001)


@pytest.mark.parametrize(
    ("signature", "body", "where"),
    [
        (NESTED, {"features": {"a": [[1, 2], [3]], "b": []}}, "features.a"),
        (NESTED, {"features": {"a": [[1, 2], [3, 400]], "b": []}}, "features.a"),
        (NESTED, {"instances": [{"a": [[1, 2]] * 2, "b": ["x"]}, {"a": [[1, 2]] * 2, "b": []}]}, "instances[1].b"),
        (WHOLE, {"instances": [[[1], [2]], [[1], [2]]]}, "instances"),
        (WHOLE, {"features": [[1, 2], [3]]}, "features.image"),
        (SCORES, {"features": [1]}, "features"),
        (SCORES, {"instances": [[1, 2], {"x": [1, 2, 3]}]}, "instances[1].x"),
        (TABULAR, {"features": {"age": 1, "town": "Rome", "count": 1.5, "note": "", "flag": True}}, "features.count"),
        (TABULAR, {"features": [1, "Rome", 1, "", 1]}, "features[4]"),
    ],
)  # fmt: skip
def test_an_error_names_its_place(signature: Signature, body: object, where: str) -> None:
    """The path to the fault as the caller wrote it."""
    with pytest.raises(InvalidInput) as found:
        filled(signature, body)
    assert found.value.where == where


any_floats = st.floats(width=32)


@given(st.lists(st.tuples(any_floats, any_floats, st.integers(0, 1)), min_size=1, max_size=4))
def test_classes_are_answered_in_json_whatever_the_model_computes(rows: list[tuple[float, float, int]]) -> None:
    """NaN and infinity are null; names with signs that templates or JSON treat specially come through."""
    labels = np.array([row[2] for row in rows])
    shares = np.array([row[:2] for row in rows], np.float32)
    found = told(TABULAR, "instances", len(rows), labels, shares)["predictions"]
    for (first, second, _), one in zip(rows, found, strict=True):
        assert list(one["probabilities"]) == ["100% sure", 'a "b"']
        for given_share, said in zip((first, second), one["probabilities"].values(), strict=True):
            assert said == given_share if math.isfinite(given_share) else said is None
        if math.isfinite(first) and math.isfinite(second):
            assert one["prediction"] == TABULAR.labels[int(second > first)]
            assert one["confidence"] == max(first, second)


@given(st.lists(st.floats(), min_size=1, max_size=5), st.data())
def test_numbers_are_answered_to_the_last_bit(values: list[float], data: st.DataObject) -> None:
    """A row of a shared run; what is not finite is null."""
    at = data.draw(st.integers(0, len(values) - 1))
    one = told(SCORES, "features", 1, np.array(values)[:, None], start=at)
    assert one["prediction"] == values[at] if math.isfinite(values[at]) else one["prediction"] is None
    assert one["confidence"] is None


@given(st.lists(texts, min_size=1, max_size=3))
def test_texts_are_answered_as_texts(words: list[str]) -> None:
    """Not in base64; several outputs by name."""
    echo = np.empty((1, len(words)), object)
    echo[0, :] = [word.encode() for word in words]
    one = told(NESTED, "features", 1, echo, np.array([1.5], np.float32))
    assert one["prediction"] == {"words": words, "sum": 1.5}


def test_a_model_without_rows_answers_as_a_whole() -> None:
    """A number without dimensions is a number."""
    assert told(WHOLE, "features", 1, np.array(2.5, np.float32))["prediction"] == 2.5


def test_versions_of_one_signature_share_what_reads_their_bodies() -> None:
    """It is made once: a load or a first request leaves no types behind that only the collector finds."""
    raw = msgspec.json.encode(TABULAR)
    codecs = [JsonCodec(msgspec.json.decode(raw, type=Signature), f"m{n}", "1", 100) for n in range(2)]
    assert codecs[0].fill == codecs[1].fill
    gc.collect()
    codecs.append(JsonCodec(msgspec.json.decode(raw, type=Signature), "m2", "1", 100))
    assert gc.collect() == 0
