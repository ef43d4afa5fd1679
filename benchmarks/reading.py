"""A process that reads features on command, so that readers of several environments are timed alike.

A line of JSON in, `{"features": 10, "entities": 1, "count": 500}`, a line out: CPU of the whole process in µs per read,
and percentiles of the time that a read took. Only the standard library: peers run it in environments of their own.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

ENTITIES = 1000
FEATURES = 100

Read = Callable[[Sequence[str]], Any]
"""Reads the features of entities, named by their keys, and returns their values as Python has them."""


def name(entity: int) -> str:
    """The key of an entity."""
    return f"user{entity:05d}"


def value(entity: int, feature: int) -> float:
    """What a feature of an entity is."""
    return entity + feature / 128


def serve(reader: Callable[[int], Read], check: Callable[[Any, int, int], float]) -> None:
    """Answer commands until the input ends.

    `reader(n)` reads the first n features; `check(found, i, j)` finds feature j of the i-th entity in what was read.
    """
    readers: dict[int, Read] = {}
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        features, entities = asked["features"], asked["entities"]
        if features not in readers:
            readers[features] = reader(features)
        print(json.dumps(_timed(readers[features], features, entities, asked["count"], check)), flush=True)


def _timed(
    read: Read, features: int, entities: int, count: int, check: Callable[[Any, int, int], float]
) -> dict[str, float]:
    keys = [[name((start * entities + i) % ENTITIES) for i in range(entities)] for start in range(64)]
    last = entities - 1
    found = read(keys[1])
    expected = value((entities + last) % ENTITIES, features - 1)
    if check(found, last, features - 1) != expected:
        raise SystemExit(f"wrong value: {check(found, last, features - 1)}, not {expected}")
    times = []
    used = time.process_time_ns()
    for i in range(count):
        began = time.perf_counter_ns()
        read(keys[i % 64])
        times.append(time.perf_counter_ns() - began)
    used = time.process_time_ns() - used
    times.sort()
    return {"cpu_us": used / count / 1e3, "p50_us": times[count // 2] / 1e3, "p99_us": times[count * 99 // 100] / 1e3}
