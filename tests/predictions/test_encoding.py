"""What goes into a block comes out of it, whatever the mixture of requests."""

from __future__ import annotations

from typing import Any

import blake3
import hypothesis.strategies as st
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings

from kaname.call import Answer, Call, Outcome, Outputs, Row
from kaname.errors import CorruptData, InvalidInput, ModelFailed, RateLimited
from kaname.predictions.decoding import decode, without
from kaname.predictions.encoding import BLOCK_BYTES, encode
from kaname.predictions.items import Item, item_of
from kaname.predictions.source import Source
from kaname.predictions.types import Digest, Prediction, RecordedError
from kaname.settings import Recording
from kaname.signature import Feature, Signature
from kaname.storage.events.types import Block
from tests.predictions.traffic import FLOWERS, IMAGES, KEY, TARGET, answer, flower_run, no_door, table_call, tensor_call


def through(
    calls: list[tuple[Call, Outcome]], signature: Signature = FLOWERS, *, wall_ns: int = 0, **how: Any
) -> dict[str, Prediction]:
    """Encode, decode, and index by request id; every request must come back once."""
    source = Source(TARGET, signature, Recording(**how))
    items: list[Item] = [item_of(call, outcome, call.started_ns + 5_000_000) for call, outcome in calls]
    found: list[Prediction] = []
    offset = 0
    for encoded in encode(source, items, wall_ns):
        events = decode(Block("flowers/0", offset, *encoded))
        assert len(events) == encoded.events
        assert encoded.first_us == min(event.time_us for event in events)
        assert encoded.last_us == max(event.time_us for event in events)
        found += events
        offset += encoded.events
    assert [event.offset for event in found] == list(range(len(calls)))
    assert sorted(event.request_id for event in found) == sorted(call.request_id for call, _ in calls)
    return {event.request_id: event for event in found}


def test_every_field_of_an_answer_comes_back() -> None:
    """One tabular request: ids, times, key, version, inputs by feature, outputs by name."""
    call = table_call("r1", [[1.5, None, "blue"]])
    event = through([(call, answer(1, 2))], wall_ns=1_700_000_000_000_000_000)["r1"]
    time_us = (call.started_ns + 1_700_000_000_000_000_000) // 1000
    assert event == Prediction(
        partition="flowers/0", offset=0, request_id="r1", time_us=time_us, latency_us=5000,
        model="flowers", model_id=7, version="3", version_id=21, key_id="key-9", rows=1, status="ok",
        inputs={"length": [1.5], "width": [None], "colour": ["blue"]},
        outputs={"label": [2], "probabilities": [[0.25, 0.75]]},
    )  # fmt: skip


def test_many_requests_share_a_run_and_each_gets_its_own_rows() -> None:
    """Requests of one and of several rows out of two runs, in any order."""
    one, two = flower_run(6), flower_run(3)
    found = through(
        [
            (table_call("a", [[0.0, 1.0, "red"]]), Answer(one, 0, 1)),
            (table_call("c", [[2.0, 1.0, "red"]]), Answer(two, 2, 3)),
            (table_call("b", [[1.0, 1.0, "red"], [7.0, 1.0, "red"]]), Answer(one, 3, 5)),
        ]
    )
    assert found["a"].outputs["label"] == [0]
    assert found["b"].outputs["label"] == [3, 4]
    assert found["b"].inputs["length"] == [1.0, 7.0]
    assert found["b"].rows == 2
    assert found["c"].outputs["label"] == [2]


def test_what_came_from_a_cache_says_so_also_when_its_neighbours_are_deleted() -> None:
    """Answers with and without a run of their own in one block; a deletion moves the marks with the events."""
    calls: list[tuple[Call, Outcome]] = []
    for i in range(4):
        run = Outputs(flower_run(1).tensors, cached=i % 2 == 1)
        calls.append((table_call(f"r{i}", [[float(i), 1.0, "red"]]), answer(run=run)))
    assert [event.cached for event in through(calls).values()] == [False, True, False, True]
    source = Source(TARGET, FLOWERS, Recording())
    (encoded,) = encode(source, [item_of(call, outcome, call.started_ns) for call, outcome in calls], 0)
    block = Block("flowers/0", 0, *encoded)
    value, gone = without(block, lambda event: event.request_id in ("r0", "r1"))
    left = decode(Block("flowers/0", 0, encoded.events, encoded.first_us, encoded.last_us, value))
    assert [(gone, event.request_id, event.cached) for event in left] == [(2, "r2", False), (2, "r3", True)]


def test_refused_failed_and_malformed_requests_are_recorded_beside_good_ones() -> None:
    """Errors keep code, message and place, not what was found; a ragged table does not harm its neighbours."""
    found = through(
        [
            (table_call("good", [[1.0, 2.0, "red"]]), answer()),
            (table_call("limited", [[1.0, 2.0, "red"]]), RateLimited("too fast", retry_after_s=1.0)),
            (table_call("bad", [[1.0], [1.0, 2.0, "red"]]), InvalidInput("ragged", where="instances[0]", found="1")),
            (table_call("strange", [{"no": "row"}]), ModelFailed("it raised")),  # type: ignore[list-item]  # on purpose
            (table_call("odd", [[object(), 1.0, "red"]]), answer()),  # type: ignore[list-item]  # on purpose
            (Call("none", KEY, no_door, rows=0, started_ns=1), InvalidInput("empty")),
        ]
    )
    assert found["good"].outputs["label"] == [0]
    assert found["limited"].status == "error"
    assert found["limited"].error == RecordedError("rate_limited", "too fast", None)
    assert found["limited"].inputs["colour"] == ["red"]
    assert found["limited"].outputs == {}
    assert found["bad"].error == RecordedError("invalid_input", "ragged", "instances[0]")
    assert found["bad"].inputs["width"] == [None, 2.0]
    assert found["strange"].error == RecordedError("model_failed", "it raised")
    assert found["odd"].status == "ok"
    assert found["none"].inputs == {}


def test_text_that_is_no_unicode_keeps_no_request_from_the_record() -> None:
    """Lone surrogates in a cell, an id and an error become replacement characters or vanish with their values."""
    source = Source(TARGET, FLOWERS, Recording())
    bad = InvalidInput("no \ud800", where="\ud800")
    calls: list[tuple[Call, Outcome]] = [
        (table_call("good", [[1.0, 2.0, "red"]]), answer()),
        (table_call("cell", [[1.0, 2.0, "\ud800"]]), answer()),
        (table_call("id\ud800", [[1.0, 2.0, "red"]]), bad),
    ]
    items: list[Item] = [item_of(call, outcome, call.started_ns) for call, outcome in calls]
    events = [event for block in encode(source, items, 0) for event in decode(Block("flowers/0", 0, *block))]
    found = {event.request_id: event for event in events}
    assert set(found) == {"good", "cell", "id?"}
    assert found["good"].inputs["colour"] == ["red"]
    assert found["id?"].error == RecordedError("invalid_input", "no ?", "?")


def test_tensors_of_unknown_kinds_are_recorded_without_their_values() -> None:
    """A complex output has no datatype in the protocol; its request is recorded all the same."""
    image, caption = np.zeros((1, 4), np.uint8), np.array([b"c"], dtype=object)
    call = tensor_call("r", image.astype(np.complex64), caption)
    event = through([(call, Answer(Outputs((np.zeros((1, 2), np.complex64),)), 0, 1))], IMAGES)["r"]
    assert event.status == "ok"
    assert event.inputs == {}


def test_tensors_of_equal_and_of_different_shapes() -> None:
    """Packed columns, single values, BYTES, several rows: all come back as their rows."""
    calls: list[tuple[Call, Outcome]] = []
    for i, width in enumerate((4, 4, 4, 6)):
        image = np.full((2, width), i, dtype=np.uint8)
        caption = np.array([b"a", b"b%d" % i], dtype=object)
        calls.append((tensor_call(f"r{i}", image, caption), Answer(Outputs((image.astype(np.float32),)), 0, 2)))
    for group in (calls, calls[:3]):
        found = through(group, IMAGES)
        for i in range(len(group)):
            assert found[f"r{i}"].inputs["image"] == [[i] * (6 if i == 3 else 4)] * 2
            assert found[f"r{i}"].inputs["caption"] == [b"a", b"b%d" % i]
            assert found[f"r{i}"].outputs["embedding"] == [[float(i)] * (6 if i == 3 else 4)] * 2


def test_large_tensors_become_hash_and_shape() -> None:
    """Above `max_bytes` the BLAKE3 of the binary form is kept, for inputs, outputs, text and long tables."""
    image = np.arange(40_000, dtype=np.uint8).reshape(1, 40_000)
    caption = np.array([b"x" * 20_000], dtype=object)
    event = through([(tensor_call("r", image, caption), Answer(Outputs((image.astype(np.float32),)), 0, 1))], IMAGES)[
        "r"
    ]
    assert event.inputs["image"] == Digest(blake3.blake3(image.tobytes()).hexdigest(), "UINT8", (1, 40_000))
    assert isinstance(event.inputs["caption"], Digest)
    assert isinstance(event.outputs["embedding"], Digest)
    long: list[Row] = [[float(i), 1.0, "red"] for i in range(5000)]
    event = through([(table_call("t", long), answer(5000))])["t"]
    assert event.inputs["length"].shape == (5000,)
    assert isinstance(event.outputs["label"], Digest)


def test_redacted_names_leave_no_trace() -> None:
    """The value of a redacted feature or output is nowhere in the block; a tensor that holds it goes too."""
    secret = "4929-secret"
    source = Source(TARGET, FLOWERS, Recording(redact=("colour", "label")))
    call = table_call("r", [[1.0, 2.0, secret]])
    for outcome in (answer(), InvalidInput("no such colour", found=secret)):
        (block,) = encode(source, [item_of(call, outcome, call.started_ns)], 0)
        assert secret.encode() not in block.value
        (event,) = decode(Block("flowers/0", 0, *block))
        assert event.inputs["colour"] is None
        assert event.inputs["length"] == [1.0]
    assert event.outputs == {}
    tensor = np.array([[1.0, 2.0, 0.0]], dtype=np.float32)
    assert through([(tensor_call("t", tensor), answer())], redact=("colour",))["t"].inputs == {"x": None}
    assert set(through([(call, answer())], redact=("x",))["r"].inputs.values()) == {None}


def test_large_groups_are_split_into_blocks_of_bounded_size() -> None:
    """600 requests of 12 kB each become several blocks, none above the limit, none lost."""
    image = np.zeros((1, 12_000), dtype=np.uint8)
    caption = np.array([b"c"], dtype=object)
    calls: list[tuple[Call, Outcome]] = [
        (tensor_call(f"r{i}", image, caption), Answer(Outputs((np.zeros((1, 2), np.float32),)), 0, 1))
        for i in range(600)
    ]
    assert len(through(calls, IMAGES)) == 600
    items: list[Item] = [item_of(call, outcome, 0) for call, outcome in calls]
    blocks = encode(Source(TARGET, IMAGES, Recording()), items, 0)
    assert max(len(block.value) for block in blocks) <= BLOCK_BYTES


def test_a_signature_without_rows_is_kept_whole() -> None:
    """Outputs of a model that has no batch dimension are not cut."""
    whole = msgspec.structs.replace(FLOWERS, features=(), batched=False)
    tensor = np.array([[1.0, 2.0, 0.0]], dtype=np.float32)
    outputs = Outputs((np.array([1, 2, 3]), np.array(0.5, dtype=np.float32)))
    event = through([(tensor_call("t", tensor), Answer(outputs, 0, 1))], whole)["t"]
    assert event.outputs == {"label": [1, 2, 3], "probabilities": 0.5}


def test_a_newer_or_torn_block_is_refused() -> None:
    """A block of a later format, and bytes that are none, raise CorruptData with their place."""
    call = table_call("r", [[1.0, 2.0, "red"]])
    (block,) = encode(Source(TARGET, FLOWERS, Recording()), [item_of(call, answer(), 0)], 0)
    fields = msgspec.msgpack.decode(block.value)
    with pytest.raises(CorruptData, match="newer"):
        decode(Block("m/0", 4, *block[:3], msgspec.msgpack.encode([2, *fields[1:]])))
    with pytest.raises(CorruptData, match="m/0@4"):
        decode(Block("m/0", 4, *block[:3], block.value[:20]))


CELL = st.one_of(st.none(), st.floats(allow_nan=False), st.integers(-(2**60), 2**60), st.text(max_size=5))


@settings(max_examples=60, deadline=None)
@given(
    tables=st.lists(st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=3), min_size=1, max_size=8),
    kinds=st.lists(st.sampled_from(["answer", "error", "tensor"]), min_size=8, max_size=8),
    gone=st.sets(st.integers(0, 7)),
)
def test_any_mixture_comes_back_and_loses_only_what_is_deleted(
    tables: list[list[tuple[Any, Any, Any]]], kinds: list[str], gone: set[int]
) -> None:
    """Random mixtures of answers, errors and tensors; then random deletions leave all others as they were."""
    calls: list[tuple[Call, Outcome]] = []
    for i, (table, kind) in enumerate(zip(tables, kinds, strict=False)):
        if kind == "tensor":
            calls.append((tensor_call(str(i), np.full((len(table), 3), i, np.float32)), answer(len(table), i)))
        else:
            outcome = answer(len(table), i) if kind == "answer" else InvalidInput("no")
            calls.append((table_call(str(i), table), outcome))
    found = through(calls)
    for i, (table, kind) in enumerate(zip(tables, kinds, strict=False)):
        event = found[str(i)]
        if kind == "tensor":
            assert event.inputs["x"] == [[float(i)] * 3] * len(table)
        else:
            assert list(zip(*event.inputs.values(), strict=True)) == table
        assert event.outputs.get("label", []) == ([] if kind == "error" else list(range(i, i + len(table))))
    items: list[Item] = [item_of(call, outcome, call.started_ns + 5_000_000) for call, outcome in calls]
    offset = 0
    left: dict[str, Prediction] = {}
    for encoded in encode(Source(TARGET, FLOWERS, Recording()), items, 0):
        block = Block("flowers/0", offset, *encoded)
        for i in gone:  # one after the other: positions must survive repeated deletion
            value, _ = without(block, lambda event, i=i: event.request_id == str(i))  # type: ignore[misc]
            block = msgspec.structs.replace(block, value=value)
        left |= {event.request_id: event for event in decode(block)}
        offset += encoded.events
    assert left == {key: event for key, event in found.items() if int(key) not in gone}


NUMBER = st.one_of(st.none(), st.floats(allow_nan=False), st.integers(-(2**50), 2**50))
PLAIN = msgspec.structs.replace(
    FLOWERS,
    features=(
        Feature(name="length", datatype="FP32", nullable=True),
        Feature(name="width", datatype="FP64", nullable=True),
        Feature(name="petals", datatype="INT64"),
    ),
)


@settings(max_examples=60, deadline=None)
@given(
    runs=st.lists(
        st.lists(st.tuples(NUMBER, NUMBER, st.integers(-9, 9)), min_size=1, max_size=6), min_size=1, max_size=4
    ),
    data=st.data(),
)
def test_cells_of_a_run_are_kept_like_the_tables_they_came_from(
    runs: list[list[tuple[Any, Any, int]]], data: st.DataObject
) -> None:
    """Runs taken whole and in order, in parts, mixed, or with several rows per request: each gets its own cells."""
    calls: list[tuple[Call, Outcome]] = []
    for number, rows in enumerate(runs):
        cells = np.array(rows, np.float64)
        made = flower_run(len(rows))
        run = Outputs(made.tensors, cells)
        start = 0
        while start < len(rows):
            size = data.draw(st.integers(1, len(rows) - start)) if data.draw(st.booleans()) else 1
            calls.append(
                (table_call(f"{number}-{start}", rows[start : start + size]), Answer(run, start, start + size))
            )
            start += size
    calls = data.draw(st.one_of(st.just(calls), st.permutations(calls)))
    calls = calls[: data.draw(st.integers(1, len(calls)))]
    found = through(calls, PLAIN)
    for call, outcome in calls:
        assert isinstance(outcome, Answer)
        event = found[call.request_id]
        assert call.table is not None
        assert list(zip(*event.inputs.values(), strict=True)) == [tuple(row) for row in call.table]
        assert all(type(cell) is int for cell in event.inputs["petals"])
        assert event.outputs["label"] == list(range(outcome.start, outcome.stop or 0))
    assert set(through(calls, PLAIN, redact=("width",))[calls[0][0].request_id].inputs["width"] or ()) == set()
