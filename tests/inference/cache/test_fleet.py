"""Answers that nodes exchange: found by all, and by nobody else; what is not whole is no answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaname.call import Answer
from kaname.errors import KanameError
from kaname.inference.cache.fleet import LARGEST_BYTES, Fleet
from kaname.inference.cache.step import ResultCache
from kaname.inference.cache.wire import read, written
from kaname.settings import Caching
from kaname.signature import OutputSpec, Signature
from kaname.tensors import Tensor, TensorSpec
from tests.inference.cache.test_step import INFO, ROW, Bench

T = TypeVar("T")
MIXED = Signature(
    task="other",
    inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 3)),),
    outputs=(
        OutputSpec(name="text", datatype="BYTES", shape=(-1,)),
        OutputSpec(name="half", datatype="FP16", shape=(-1, 2)),
        OutputSpec(name="count", datatype="INT64", shape=(-1,)),
    ),
)
TENSORS: tuple[Tensor, ...] = (
    np.array([b"a", b"\xff\x00"], object),
    np.array([[1, float("nan")], [3, -0.0]], np.float16),
    np.array([-(2**63), 5], np.int64),
)


class Kept:
    """What all nodes share, as a dictionary; answers on the loop's next turn, or when told to."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.waiting: list[Callable[[], None]] = []
        self.loop: asyncio.AbstractEventLoop | None = None

    def get(self, key: str, read: Callable[[bytes], T | None], then: Callable[[T | None], None]) -> None:
        value = self.values.get(key)
        answer = lambda: then(None if value is None else read(value))  # noqa: E731  (told later)
        if self.loop is None:
            self.waiting.append(answer)
        else:
            self.loop.call_soon(answer)

    def put(self, key: str, size: int, write: Callable[[], bytes], ttl_ms: int) -> None:
        assert ttl_ms == 300_000
        self.values[key] = write()


def test_an_answer_is_read_as_it_was_written() -> None:
    """Every datatype, bit for bit."""
    found = read("k", MIXED, written("k", TENSORS))
    assert found is not None
    for one, other in zip(found, TENSORS, strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert one.tolist() == other.tolist() if one.dtype == object else one.tobytes() == other.tobytes()


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_any_damage_makes_it_no_answer(at: int, flip: int) -> None:
    """One byte changed anywhere, cut anywhere."""
    data = bytearray(written("k", TENSORS))
    at %= len(data)
    assert read("k", MIXED, bytes(data[:at])) is None
    data[at] ^= flip
    assert read("k", MIXED, bytes(data)) is None


@pytest.mark.parametrize("data", [b"", b"x", b"kaname.answer.2\n" + b"0" * 40, msgspec.msgpack.encode({"y": 1})])
def test_what_others_put_there_is_no_answer(data: bytes) -> None:
    """Another program's value, another release's form."""
    assert read("k", MIXED, data) is None


def test_an_answer_of_another_key_or_signature_is_none() -> None:
    """Whole as it is: it was copied to the wrong place, or the outputs are not those of the version."""
    data = written("k", TENSORS)
    assert read("other", MIXED, data) is None
    fewer = msgspec.structs.replace(MIXED, outputs=MIXED.outputs[:2])
    other = msgspec.structs.replace(MIXED.outputs[2], datatype="INT32")
    wider = msgspec.structs.replace(MIXED.outputs[1], shape=(-1, 3))
    for outputs in (fewer.outputs, (*MIXED.outputs[:2], other), (MIXED.outputs[0], wider, MIXED.outputs[2])):
        assert read("k", msgspec.structs.replace(MIXED, outputs=outputs), data) is None


class Node(Bench):
    """A worker with its own memory."""

    def __init__(self, folder: Path, kept: Kept) -> None:
        super().__init__(folder, Caching(enabled=True))
        self.cache = ResultCache(Caching(enabled=True), self.deadlines, self.meters, kept)
        self.step = self.cache.step(INFO, self.lane.submit)


def test_what_one_node_computed_another_one_answers_without_a_run(tmp_path: Path) -> None:
    """The first asks the model, the second finds its answer, keeps it, and then needs nobody."""
    kept = Kept()
    one, other = Node(tmp_path / "one", kept), Node(tmp_path / "other", kept)
    kept.loop = one.loop
    first = one.asked(ROW)
    one.all_ended(first)
    kept.loop = other.loop
    second, beside = other.asked(ROW), other.asked(ROW)
    other.all_ended(second, beside)
    for asked in (first, second, beside):
        asked.check_answer()
    assert not other.runtime.runs
    kept.loop = None
    third = other.asked(ROW)
    third.check_answer()
    (outcome,) = third.outcomes
    assert isinstance(outcome, Answer)
    assert outcome.outputs.cached
    assert other.meters().shared.value == 1
    assert other.counts() == (1, 1, 0)
    one.close()
    other.close()


def test_a_damaged_value_is_a_miss_and_is_put_right(tmp_path: Path) -> None:
    """The model runs, and its answer takes the place of the damage."""
    kept = Kept()
    node = Node(tmp_path, kept)
    kept.loop = node.loop
    node.all_ended(node.asked(ROW))
    ((key, good),) = kept.values.items()
    kept.values[key] = good[:-1] + bytes([good[-1] ^ 1])
    node.cache = ResultCache(Caching(enabled=True), node.deadlines, node.meters, kept)
    node.step = node.cache.step(INFO, node.lane.submit)
    node.all_ended(node.asked(ROW))
    assert (len(node.runtime.runs), kept.values[key]) == (2, good)
    node.close()


def test_a_call_that_ends_while_others_are_asked_is_let_go_and_its_followers_go_on(tmp_path: Path) -> None:
    """The answer from elsewhere comes too late for the leader, and in time for nobody else's harm."""
    kept = Kept()
    node = Node(tmp_path, kept)
    leader, follower = node.asked(ROW), node.asked(ROW)
    leader.call.gone = True
    leader.call.fail(KanameError("the caller left"))
    assert len(kept.waiting) == 2
    for answer in kept.waiting:
        answer()
    node.all_ended(follower)
    follower.check_answer()
    assert len(node.runtime.runs) == 1
    node.close()


def test_projects_with_other_artefacts_and_answers_too_large_to_share_stay_apart() -> None:
    """The key holds the artefact's hash; more than a megabyte is not sent around."""
    kept = Kept()
    mine, theirs = Fleet(kept, INFO, 300_000), Fleet(kept, msgspec.structs.replace(INFO, artefact="b" * 64), 300_000)
    mine.keep(b"key", TENSORS)
    theirs.keep(b"key", TENSORS)
    assert len(kept.values) == 2
    mine.keep(b"large", (np.zeros(LARGEST_BYTES, np.uint8), np.zeros(1)))
    assert len(kept.values) == 2
