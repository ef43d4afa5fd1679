"""What recording takes from answers, measured: the reason for its shape."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from kaname.call import Answer
from kaname.clock import SystemClock
from kaname.predictions.encoding import encode
from kaname.predictions.items import Item, item_of
from kaname.predictions.recorder import Recorder
from kaname.predictions.source import Source
from kaname.settings import Recording
from kaname.storage.events.lmdb.writer import LmdbWriter
from tests.predictions.traffic import FLOWERS, TARGET, flower_run, table_call


@pytest.mark.serial
def test_recording_costs_the_loop_under_a_microsecond_and_the_thread_a_few(tmp_path: Path) -> None:
    """The best of twenty rounds of 600 single-row calls: handler below 1 µs, encoding below 4 µs per event."""
    writer = LmdbWriter(tmp_path, 0, SystemClock())
    recorder = Recorder(writer, SystemClock())
    handle = recorder.observer(TARGET, FLOWERS, Recording()).each
    runs = [flower_run(16) for _ in range(40)]
    calls = [table_call(f"{i:028}", [[1.0, 2.0, "red"]]) for i in range(600)]
    answers = [Answer(runs[i // 16], i % 16, i % 16 + 1) for i in range(600)]
    now = time.monotonic_ns()
    items: list[Item] = [item_of(call, answer, now) for call, answer in zip(calls, answers, strict=True)]
    source = Source(TARGET, FLOWERS, Recording())
    loop_us, thread_us = [], []
    for _ in range(20):
        began = time.perf_counter()
        for call, answer in zip(calls, answers, strict=True):
            handle(call, answer)
        loop_us.append((time.perf_counter() - began) / 600 * 1e6)
        began = time.perf_counter()
        encode(source, items, 0)
        thread_us.append((time.perf_counter() - began) / 600 * 1e6)
    writer.close()
    assert recorder.counts.dropped == 0
    assert min(loop_us) < 1.0
    assert min(thread_us) < 4.0
