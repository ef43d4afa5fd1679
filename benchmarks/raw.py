"""The limit: `session.run` alone on one core, in microseconds per call: `python -m benchmarks.raw MODEL.onnx`."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np

BATCHES = (1, 64, 1000)
SECONDS = 1.0
LARGEST_PICTURES = 8


def measure(path: str) -> dict[str, float]:
    """Microseconds per call by batch size (as text); pictures are not measured in large batches."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime  # after the variable that keeps it quiet

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    draw = np.random.default_rng(3)
    found = {}
    for batch in BATCHES:
        if len(given.shape) == 4 and batch > LARGEST_PICTURES:
            continue
        rows = draw.normal(size=(batch, *given.shape[1:])).astype(np.float32)
        found[str(batch)] = _us_per_call(partial(session.run, None, {given.name: rows}))
    return found


def _us_per_call(call: Callable[[], object]) -> float:
    for _ in range(3):
        call()
    calls, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < SECONDS:
        for _ in range(5):
            call()
        calls += 5
    return spent / calls * 1e6


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1])))
