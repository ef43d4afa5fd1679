"""What the result cache costs in a process: the step alone, on a hit and on a miss, against the step behind it.

python -m benchmarks.cache
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from kaname.call import Call, Outputs, Principal, Step
from kaname.clock import SystemClock
from kaname.inference.cache.meters import CacheMeters
from kaname.inference.cache.step import ResultCache
from kaname.models.types import VersionInfo
from kaname.resilience.deadlines import Deadlines
from kaname.runtimes.types import Profile
from kaname.settings import Caching
from kaname.signature import OutputSpec, Signature
from kaname.telemetry.metrics import Metrics
from kaname.tensors import TensorSpec

WHO = Principal("k", "bench", may_predict=None, scopes=frozenset())
CALLS = 20_000
ROUNDS = 7


def version(width: int) -> VersionInfo:
    """A version that takes one row of `width` numbers."""
    return VersionInfo(
        id=1, model_id=1, model="m", version="1", status="deployed", artefact="a" * 64, source="onnx", runtime="onnx",
        signature=Signature(
            task="other",
            inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, width)),),
            outputs=(OutputSpec(name="y", datatype="FP32", shape=(-1, 3)),),
        ),
        profile=Profile(rows=(1,), us=(1.0,), best_rows=8, exact=True, splits=True),
        created_us=0,
    )  # fmt: skip


def answering() -> Step:
    """A model that costs nothing."""
    outputs = Outputs((np.zeros((1, 3), np.float32),))
    return lambda call: call.answer(outputs, 0, None)


def cost_us(step: Step, row_of: Callable[[int], tuple[float, ...]], clock: SystemClock) -> float:
    """CPU of the step per call, without the making of calls."""

    def calls() -> list[Call]:
        now = clock.monotonic_ns()
        return [Call("r", WHO, lambda _, __: None, 1, (row_of(i),), None, now, now + 10**10) for i in range(CALLS)]

    best = float("inf")
    for _ in range(ROUNDS):
        made = calls()
        began = time.process_time_ns()
        for call in made:
            step(call)
        best = min(best, (time.process_time_ns() - began) / CALLS / 1e3)
    return best


def line(width: int, deadlines: Deadlines, clock: SystemClock, metrics: Metrics) -> str:
    """The costs for one row of `width` numbers."""
    caching = Caching(enabled=True, max_bytes=2_000_000)
    cache = ResultCache(caching, deadlines, lambda _: CacheMeters(metrics, "m", "1"))
    step, fresh, rest = cache.step(version(width), answering()), itertools.count(), (0.5,) * (width - 1)
    hit = cost_us(step, lambda _: (1.0, *rest), clock)
    miss = cost_us(step, lambda _: (float(next(fresh)), *rest), clock)
    bare = cost_us(answering(), lambda _: (1.0, *rest), clock)
    return f"| {width:,} | {hit:.1f} | {miss:.1f} | {bare:.1f} |"


def main() -> None:
    """Print a table."""
    loop, clock = asyncio.new_event_loop(), SystemClock()
    print("| numbers in the row | hit | miss | no cache |\n|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        metrics = Metrics(Path(folder), 0)
        for width in (4, 100, 1_000):
            print(line(width, Deadlines(clock, loop), clock, metrics))
        metrics.close()
    loop.close()


if __name__ == "__main__":
    main()
