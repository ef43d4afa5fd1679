"""A constant rate of requests that does not wait for the answers: `python -m benchmarks.openloop FILE`.

A closed loop sends less when the server is slow and so hides its pauses. Here each request has a time at which it
is meant to leave; its latency counts from then, whether or not it could leave in time.

The file is JSON: port, head and body (latin-1 text), rate per second, seconds, connections. Prints one JSON line.
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

from benchmarks.request import Request
from benchmarks.stats import percentile


def encode(port: int, request: Request) -> bytes:
    """The bytes of `request` on the wire."""
    lines = [f"{request.method} {request.path} HTTP/1.1", f"Host: 127.0.0.1:{port}"]
    lines += [f"{name}: {value}" for name, value in (*request.headers, ("Content-Length", str(len(request.body))))]
    return "\r\n".join([*lines, "", ""]).encode() + request.body


class Line(asyncio.Protocol):
    """One connection: remembers when each of its requests was meant to leave, in order."""

    def __init__(self, latencies_ms: list[float], refused: list[int]) -> None:
        self.intended: deque[float] = deque()
        self._latencies, self._refused = latencies_ms, refused
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's are transports by behaviour only

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._latencies.append((time.perf_counter() - self.intended.popleft()) * 1e3)
        if self._parser.get_status_code() != 200:
            self._refused.append(self._parser.get_status_code())


async def drive(port: int, wire: bytes, *, rate_per_s: float, seconds: float, connections: int) -> dict[str, float]:
    """Send at the rate; returns requests, unanswered, refused, and p50, p99, p99.9 and the largest in ms."""
    latencies: list[float] = []
    refused: list[int] = []
    loop = asyncio.get_running_loop()
    lines = [
        (await loop.create_connection(lambda: Line(latencies, refused), "127.0.0.1", port))[1]
        for _ in range(connections)
    ]
    total, start = int(rate_per_s * seconds), time.perf_counter() + 0.05
    for number in range(total):
        due = start + number / rate_per_s
        await until(due)
        idle = min(lines, key=lambda line: len(line.intended))
        idle.intended.append(due)
        idle.transport.write(wire)
    deadline = time.perf_counter() + 5.0
    while len(latencies) < total and time.perf_counter() < deadline:
        await asyncio.sleep(0.01)
    for line in lines:
        line.transport.close()
    figures = {f"p{p}_ms": percentile(latencies, p) for p in (50, 99, 99.9)} | {"max_ms": max(latencies)}
    return {"requests": total, "unanswered": total - len(latencies), "refused": len(refused), **figures}


async def until(due: float) -> None:
    """Sleep for most of the wait and give the loop turns for the rest: a timer alone is late by up to a millisecond."""
    wait = due - time.perf_counter()
    if wait > 0.002:
        await asyncio.sleep(wait - 0.0015)
    while time.perf_counter() < due:
        await asyncio.sleep(0)


def main() -> None:
    plan = json.loads(Path(sys.argv[1]).read_text())
    wire = plan.pop("wire").encode("latin-1")
    print(json.dumps(uvloop.run(drive(plan.pop("port"), wire, **plan))))


if __name__ == "__main__":
    main()
