"""Calls that a run answered together are recorded as if each had been answered alone."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import msgspec
import numpy as np
from hypothesis import given, settings

from kaname.call import Call, Outputs
from kaname.predictions.decoding import decode
from kaname.predictions.encoding import BLOCK_EVENTS, Encoded, encode, encode_runs
from kaname.predictions.items import RunItems, run_items
from kaname.predictions.source import Source
from kaname.predictions.types import Prediction
from kaname.settings import Recording
from kaname.storage.events.types import Block
from tests.predictions.traffic import FLOWERS, IMAGES, TARGET, flower_run, table_call, tensor_call

SIZES = st.lists(st.integers(1, 3), min_size=1, max_size=4)
FORMS = ("cells", "table", "tensor", "cached", "short")


def run_of(form: str, number: int, sizes: list[int]) -> RunItems:
    """The calls of one run with so many rows each."""
    total = sum(sizes)
    run = flower_run(total + (form == "short"))
    if form == "cells":
        run = Outputs(run.tensors, cells=np.arange(3.0 * total).reshape(total, 3))
    elif form == "cached":
        run = Outputs(run.tensors, cached=True)
    calls: list[Call] = []
    for i, rows in enumerate(sizes):
        name = f"{number}-{i}"
        tensor = np.full((rows, 3), number + i / 8, np.float32)
        made = tensor_call(name, tensor) if form == "tensor" else table_call(name, [[1.0 * i, None, "red"]] * rows)
        made.ended_ns = made.started_ns + 1000 * i
        calls.append(made)
    return run_items(calls, run)


def events_of(blocks: list[Encoded]) -> dict[str, Prediction]:
    """By request id, without their places in the log."""
    found = [event for block in blocks for event in decode(Block("flowers/0", 0, *block))]
    assert len(found) == sum(block.events for block in blocks)
    return {event.request_id: msgspec.structs.replace(event, offset=0) for event in found}


def check(source: Source, runs: list[RunItems]) -> list[Encoded]:
    """The same events whether the calls are written by runs or one by one."""
    alone = [block for run in runs for item in run.items() for block in encode(source, [item], 5)]
    blocks = encode_runs(source, runs, 5)
    assert events_of(blocks) == events_of(alone)
    return blocks


@settings(max_examples=80, deadline=None)
@given(
    runs=st.lists(st.tuples(st.sampled_from(FORMS), SIZES), min_size=1, max_size=5),
    how=st.sampled_from([{}, {"redact": ("colour",)}, {"max_bytes": 8}]),
)
def test_any_runs_are_recorded_as_their_calls_alone(runs: list[tuple[str, list[int]]], how: dict[str, Any]) -> None:
    """Runs of numbers, of tables and of tensors, from a cache and with outputs that are no rows, in one block."""
    source = Source(TARGET, FLOWERS, Recording(**how))
    check(source, [run_of(form, number, sizes) for number, (form, sizes) in enumerate(runs)])


def test_runs_of_one_form_make_one_block_until_it_is_full() -> None:
    """Up to `BLOCK_EVENTS` calls share a block."""
    source = Source(TARGET, FLOWERS, Recording())
    runs = [run_of("cells", number, [1] * 512) for number in range(5)]
    assert [block.events for block in check(source, runs)] == [BLOCK_EVENTS, 512]


def test_large_values_are_written_in_blocks_of_bounded_size() -> None:
    """Images of 200 kB and outputs that are kept in binary form: several blocks, nothing lost."""
    image, caption = np.zeros((1, 200_000), np.uint8), np.array([b"c"], dtype=object)
    calls = [tensor_call(f"r{i}", image, caption) for i in range(20)]
    runs = [run_items(calls, Outputs((np.arange(20 * 100, dtype=np.float32).reshape(20, 100),)))]
    assert len(check(Source(TARGET, IMAGES, Recording(max_bytes=400_000)), runs)) > 1
