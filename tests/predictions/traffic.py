"""Calls, signatures and a place for the record, as the tests here need them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from kaname.call import Answer, Call, Outcome, Outputs, Principal, Row, Target
from kaname.clock import Clock, SystemClock
from kaname.predictions.erasure import erase_everywhere
from kaname.predictions.reader import PredictionReader
from kaname.predictions.recorder import Recorder
from kaname.settings import Recording
from kaname.signature import Feature, OutputSpec, Signature
from kaname.storage.events.lmdb.reader import LmdbReader
from kaname.storage.events.lmdb.writer import LmdbWriter
from kaname.tensors import Tensor, TensorSpec

FLOWERS = Signature(
    task="classification",
    inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 3)),),
    outputs=(
        OutputSpec(name="label", datatype="INT64", shape=(-1,), role="label"),
        OutputSpec(name="probabilities", datatype="FP32", shape=(-1, 2), role="probabilities"),
    ),
    features=(
        Feature(name="length", datatype="FP32"),
        Feature(name="width", datatype="FP32", nullable=True),
        Feature(name="colour", datatype="FP32", categories=("red", "blue")),
    ),
    labels=("a", "b"),
)
IMAGES = Signature(
    task="other",
    inputs=(
        TensorSpec(name="image", datatype="UINT8", shape=(-1, -1)),
        TensorSpec(name="caption", datatype="BYTES", shape=(-1,)),
    ),
    outputs=(OutputSpec(name="embedding", datatype="FP32", shape=(-1, -1)),),
)
TARGET = Target(model="flowers", model_id=7, version="3", version_id=21)
KEY = Principal("key-9", "tests", may_predict=None, scopes=frozenset())


def no_door(_: Call, __: Outcome) -> None:
    """Nobody waits."""


def table_call(
    request_id: str,
    table: Sequence[Row],
    *,
    door: Callable[[Call, Outcome], None] = no_door,
    principal: Principal = KEY,
    deadline_ns: int = 0,
    started_ns: int | None = None,
) -> Call:
    return Call(
        request_id,
        principal,
        door,
        rows=len(table),
        table=table,
        started_ns=time.monotonic_ns() if started_ns is None else started_ns,
        deadline_ns=deadline_ns,
    )


def tensor_call(request_id: str, *tensors: Tensor) -> Call:
    return Call(
        request_id, KEY, no_door, rows=len(tensors[0]), tensors=tensors,
        started_ns=time.monotonic_ns(),
    )  # fmt: skip


def flower_run(rows: int) -> Outputs:
    """A run whose outputs tell their rows apart."""
    label = np.arange(rows, dtype=np.int64)
    return Outputs((label, np.stack([label / 8, 1 - label / 8], axis=1).astype(np.float32)))


def answer(rows: int = 1, start: int = 0, run: Outputs | None = None) -> Answer:
    return Answer(run or flower_run(start + rows), start, start + rows)


def open_reader(folder: Path, clock: Clock | None = None) -> PredictionReader:
    log = LmdbReader(folder)
    return PredictionReader(
        log,
        lambda subject: erase_everywhere(
            subject, folder, log, lambda slot: LmdbWriter(folder, slot, clock or SystemClock()), timeout_s=10.0
        ),
    )


@contextmanager
def recording(folder: Path, **options: Any) -> Iterator[Recorder]:
    """A running recorder on slot 0 of `folder` whose loop is the running one, if there is one."""
    writer = LmdbWriter(folder, 0, SystemClock())
    recorder = Recorder(writer, SystemClock(), **options)
    try:
        loop = asyncio.get_running_loop()
        own = None
    except RuntimeError:
        own = loop = asyncio.new_event_loop()
    recorder.start(loop)
    try:
        yield recorder
    finally:
        recorder.stop()
        writer.close()
        if own is not None:
            own.close()


def record(folder: Path, calls: Sequence[tuple[Call, Outcome]], how: Recording, signature: Signature = FLOWERS) -> None:
    """Record calls and stop."""
    with recording(folder) as recorder:
        handle = recorder.observer(TARGET, signature, how).each
        for call, outcome in calls:
            assert handle(call, outcome) is outcome


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Let the loop run until `condition` holds; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        await asyncio.sleep(0.002)
