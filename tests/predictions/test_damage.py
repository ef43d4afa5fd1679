"""Damaged and incomplete parts of the record: what can be read is read, what cannot is said."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given, settings
from structlog.testing import capture_logs

from kaname.call import Target
from kaname.clock import SystemClock
from kaname.errors import Conflict, CorruptData
from kaname.predictions.columns import FORMAT, Body, Cells, Each, Hashed, Packed, Whole
from kaname.predictions.decoding import decode, without
from kaname.predictions.erasure import OrderedErasures, erase_everywhere
from kaname.predictions.types import TOPIC, RecordedError, Subject
from kaname.storage.events.lmdb.reader import LmdbReader
from kaname.storage.events.lmdb.writer import LmdbWriter
from kaname.storage.events.types import Block, EventWriter, Position

WHOLE = Body(
    format=FORMAT,
    target=Target(model="m", model_id=1, version="1", version_id=2),
    input_names=("cells", "packed", "each"),
    output_names=("y",),
    request_ids=["request-a", "request-b", "request-c", "request-d"],
    times_ns=[1_000, 2_000, 3_000, 4_000],
    latencies_ns=[10, 20, 30, 40],
    keys=["key-one", "key-two", "key-three"],
    key_of=[0, 1, 1, 2],
    rows=[1, 2, 1, 1],
    inputs=[
        Cells(["v", 1.5, None, 4, True]),
        Packed("FP32", (2,), bytes(range(40))),
        Each([Cells(["z"]), Whole("INT64", (1,), bytes(8)), Hashed("00" * 32, "UINT8", (3,)), None]),
    ],
    outputs=[Packed("INT64", (), bytes(40))],
    errors={2: RecordedError(code="overloaded", message="too much")},
    places=[],
)


def block_of(value: bytes) -> Block:
    return Block("m/0", 100, 4, 1, 4, value)


GOOD = msgspec.msgpack.encode(WHOLE)


def test_the_block_that_is_damaged_here_is_good() -> None:
    """Every kind of column is in it."""
    events = decode(block_of(GOOD))
    assert [event.offset for event in events] == [100, 101, 102, 103]
    assert [event.key_id for event in events] == ["key-one", "key-two", "key-two", "key-three"]
    assert events[1].inputs["cells"] == [1.5, None]
    assert events[3].inputs.keys() == {"cells", "packed"}


@settings(max_examples=400, deadline=None)
@given(at=st.integers(0, len(GOOD) - 1), byte=st.integers(0, 255), cut=st.integers(0, 3))
def test_damaged_bytes_are_corrupt_data_or_other_values(at: int, byte: int, cut: int) -> None:
    """Whichever byte of a block is another, reading and erasing raise nothing but CorruptData, with the place."""
    value = bytearray(GOOD)
    value[at] = byte
    block = block_of(bytes(value[: len(value) - cut]))
    try:
        decode(block)
        without(block, lambda event: event.rows == 1)
    except CorruptData as error:
        where = error.where
    else:
        where = "m/0@100"
    assert where == "m/0@100"


@pytest.mark.parametrize(
    "change",
    [
        {"times_ns": [1]},
        {"rows": [1, 2]},
        {"keys": []},
        {"input_names": ("one",)},
        {"outputs": [Packed("FP99", (), bytes(40))]},
        {"outputs": [Packed("INT64", (7,), bytes(40))]},
        {"outputs": [Each([None])]},
        {"outputs": [Each([Whole("INT64", (9,), bytes(8))] * 4)]},
    ],
)
def test_parts_that_contradict_each_other_are_corrupt(change: dict[str, Any]) -> None:
    """Well-formed MessagePack whose columns do not belong together is not read as something else."""
    broken = msgspec.structs.replace(WHOLE, **change)
    with pytest.raises(CorruptData, match="do not fit together"):
        decode(block_of(msgspec.msgpack.encode(broken)))


@given(gone=st.sets(st.sampled_from("abcd")))
def test_what_is_erased_leaves_neither_its_id_nor_its_key_behind(gone: set[str]) -> None:
    """The bytes of the block hold no request id of an erased event, and no key that only erased events had; all other
    events are as before, also when the block is rewritten twice."""
    value, count = without(block_of(GOOD), lambda event: event.request_id[-1] in gone)
    assert count == len(gone)
    left = [event for event in decode(block_of(GOOD)) if event.request_id[-1] not in gone]
    assert decode(block_of(value)) == left
    for event in decode(block_of(GOOD)):
        assert (event.request_id.encode() in value) is (event in left)
        assert (event.key_id.encode() in value) is any(event.key_id == other.key_id for other in left)
    assert without(block_of(value), lambda event: event.request_id[-1] in gone) == (value, 0)
    nothing, _ = without(block_of(value), lambda _: True)
    assert decode(block_of(nothing)) == []


# --- deletion in a record that cannot all be read -----------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two blocks of one partition: the second is damaged."""
    writer = LmdbWriter(tmp_path, 0, SystemClock())
    now_us = time.time_ns() // 1000
    for value in (GOOD, GOOD[:50]):
        writer.append_block(TOPIC, "m", 4, now_us, now_us, value)
        writer.commit()
    writer.close()
    return tmp_path


def test_whoever_ordered_a_deletion_learns_that_it_is_not_complete(folder: Path) -> None:
    """The owner of the slot could not read a part: the requester hears of it, not of a success."""
    log = LmdbReader(folder)

    def refused(slot: int) -> EventWriter:
        """The slot has an owner, below."""
        raise Conflict("owned", where=str(slot))

    subject = Subject(key_id="key-two")
    writer = LmdbWriter(folder, 0, SystemClock())
    work = OrderedErasures(folder, 0, log, SystemClock())
    over = threading.Event()

    def own() -> None:
        while not over.wait(0.002):
            while work(writer):
                pass

    thread = threading.Thread(target=own)
    with capture_logs() as lines:
        thread.start()
        try:
            with pytest.raises(CorruptData, match="2 events were deleted, others could not be read"):
                erase_everywhere(subject, folder, log, refused, timeout_s=20.0)
        finally:
            over.set()
            thread.join()
            writer.close()
    assert any("failed" in line["event"] for line in lines)
    assert list((folder / "0" / "erase").iterdir()) == []
    (block, _) = log.blocks(TOPIC, Position(log.partitions(TOPIC)[0], 0), 9)
    assert {event.key_id for event in decode(block)} == {"key-one", "key-three"}


def test_a_deletion_without_an_owner_says_it_at_once(folder: Path) -> None:
    """The same damage where the slot is free."""
    with pytest.raises(CorruptData, match="cannot be read"):
        erase_everywhere(
            Subject(key_id="key-two"), folder, LmdbReader(folder), lambda slot: LmdbWriter(folder, slot, SystemClock())
        )


def test_an_order_that_is_no_text_stops_nothing(folder: Path) -> None:
    """Bytes that are not UTF-8 are put aside like every other unreadable order."""
    orders = folder / "0" / "erase"
    orders.mkdir()
    (orders / "0.json").write_bytes(b'{"key_id": "\xff"}')
    writer = LmdbWriter(folder, 0, SystemClock())
    with capture_logs() as lines:
        assert OrderedErasures(folder, 0, LmdbReader(folder), SystemClock())(writer) is False
    writer.close()
    assert [path.suffix for path in orders.iterdir()] == [".bad"]
    assert "cannot be read" in lines[0]["event"]
