"""Zipf traffic over many models at a constant rate: `python -m benchmarks.density_load FILE`.

The file is JSON: port, key, body, names of the models by rank, exponent, rate per second, seconds, connections, seed.
Prints one JSON line: how many requests, what failed, latencies in ms from the moment a request was meant to leave, of
first requests (each loads its model), of requests to the models that are asked most, and of all.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any, cast

import httptools
import numpy as np
import uvloop

from benchmarks.openloop import encode, until
from benchmarks.request import Request
from benchmarks.stats import percentile

HOTTEST = 20
"""Ranks whose models are in memory all the time."""
DRAIN_S = 10.0


class Line(asyncio.Protocol):
    """One connection; `sent` are its requests in order: when each was meant to leave, the model's rank, whether it is
    that model's first."""

    def __init__(self, ended: list[tuple[float, int, bool, int]]) -> None:
        self.sent: deque[tuple[float, int, bool]] = deque()
        self._ended = ended
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        due, rank, first = self.sent.popleft()
        self._ended.append(((time.perf_counter() - due) * 1e3, rank, first, self._parser.get_status_code()))


async def drive(plan: dict[str, Any]) -> dict[str, Any]:
    """Send at the rate, each request on the connection that waits for least."""
    names = plan["names"]
    ranks = _zipf(len(names), plan["exponent"], int(plan["rate_per_s"] * plan["seconds"]), plan["seed"])
    headers = (("Content-Type", "application/json"), ("Authorization", f"Bearer {plan['key']}"))
    wires = [
        encode(plan["port"], Request(f"/api/v1/models/{name}/predict", plan["body"].encode(), headers, "POST"))
        for name in names
    ]
    ended: list[tuple[float, int, bool, int]] = []
    loop = asyncio.get_running_loop()
    lines = [
        (await loop.create_connection(lambda: Line(ended), "127.0.0.1", plan["port"]))[1]
        for _ in range(plan["connections"])
    ]
    seen: set[int] = set(plan["known"])
    start = time.perf_counter() + 0.05
    for number, rank in enumerate(ranks):
        due = start + number / plan["rate_per_s"]
        await until(due)
        idle = min(lines, key=lambda line: len(line.sent))
        idle.sent.append((due, rank, rank not in seen))
        seen.add(rank)
        idle.transport.write(wires[rank])
    deadline = time.perf_counter() + DRAIN_S
    while len(ended) < len(ranks) and time.perf_counter() < deadline:
        await asyncio.sleep(0.01)
    return _figures(ended, len(ranks), sorted(seen))


def _zipf(models: int, exponent: float, count: int, seed: int) -> list[int]:
    weights = 1 / np.arange(1, models + 1) ** exponent
    found: list[int] = np.random.default_rng(seed).choice(models, count, p=weights / weights.sum()).tolist()
    return found


def _figures(ended: list[tuple[float, int, bool, int]], sent: int, seen: list[int]) -> dict[str, Any]:
    groups = {
        "all": [ms for ms, _, _, _ in ended],
        "first": [ms for ms, _, first, _ in ended if first],
        "hottest": [ms for ms, rank, first, _ in ended if rank < HOTTEST and not first],
    }
    latencies = {
        name: {f"p{p}": percentile(found, p) for p in (50, 99, 99.9)} | {"count": len(found)}
        for name, found in groups.items()
        if found
    }
    failed = sum(status != 200 for _, _, _, status in ended)
    return {
        "sent": sent,
        "unanswered": sent - len(ended),
        "failed": failed,
        "models": len(seen),
        "seen": seen,
    } | latencies


if __name__ == "__main__":
    print(json.dumps(uvloop.run(drive(json.loads(Path(sys.argv[1]).read_text())))))
