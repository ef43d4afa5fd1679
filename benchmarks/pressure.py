"""An open loop that tells good answers from refusals: `python -m benchmarks.pressure FILE`.

The file is JSON: port, wire (latin-1 text), rate per second, seconds, connections, warm_s (sent before, not counted),
and in_time_ms. Prints one JSON line.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import deque
from pathlib import Path
from typing import cast

import httptools
import uvloop

from benchmarks.openloop import until
from benchmarks.stats import percentile

PATIENCE_S = 1.0
"""How long late answers are waited for at the end."""
Seen = list[tuple[float, float, int]]
"""Of each answer: when its request was meant to leave (s), its latency (ms) and its status."""


class Line(asyncio.Protocol):
    """One connection: remembers when each of its requests was meant to leave, in order."""

    def __init__(self, seen: Seen) -> None:
        self.intended: deque[float] = deque()
        self._seen = seen
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.intended.clear()  # nobody answers these any more

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        due = self.intended.popleft()
        self._seen.append((due, (time.perf_counter() - due) * 1e3, self._parser.get_status_code()))


async def drive(
    port: int,
    wire: bytes,
    *,
    rate_per_s: float,
    seconds: float,
    connections: int,
    warm_s: float,
    in_time_ms: float,
) -> dict[str, float]:
    """Send at the rate, and count what was meant to leave after the first `warm_s`."""
    seen: Seen = []
    loop = asyncio.get_running_loop()
    lines = [(await loop.create_connection(lambda: Line(seen), "127.0.0.1", port))[1] for _ in range(connections)]
    start = time.perf_counter() + 0.05
    for number in range(int(rate_per_s * (warm_s + seconds))):
        due = start + number / rate_per_s
        await until(due)
        idle = min(lines, key=lambda line: len(line.intended))
        if idle.transport.is_closing():  # servers close what was idle for some seconds
            lines.remove(idle)
            idle = (await loop.create_connection(lambda: Line(seen), "127.0.0.1", port))[1]
            lines.append(idle)
        idle.intended.append(due)
        idle.transport.write(wire)
    deadline = time.perf_counter() + PATIENCE_S
    while any(line.intended for line in lines) and time.perf_counter() < deadline:
        await asyncio.sleep(0.01)
    for line in lines:
        line.transport.abort()
    return figures([one for one in seen if one[0] >= start + warm_s], seconds, in_time_ms)


def figures(seen: Seen, seconds: float, in_time_ms: float) -> dict[str, float]:
    """Rates per second and latencies in ms; 0 where there is nothing to take them of."""
    good = [latency for _, latency, status in seen if status == 200]
    refused = [latency for _, latency, status in seen if status != 200]
    return {
        "good_per_s": sum(latency <= in_time_ms for latency in good) / seconds,
        "refused_per_s": len(refused) / seconds,
        "p50_ms": percentile(good, 50) if good else 0.0,
        "p99_ms": percentile(good, 99) if good else 0.0,
        "refusal_ms": percentile(refused, 50) if refused else 0.0,
    }


def main() -> None:
    plan = json.loads(Path(sys.argv[1]).read_text())
    wire = plan.pop("wire").encode("latin-1")
    print(json.dumps(uvloop.run(drive(plan.pop("port"), wire, **plan))))


if __name__ == "__main__":
    main()
