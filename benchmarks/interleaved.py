"""What variants of one request cost a server, measured in turns: A B C A B C, the median of each."""

from __future__ import annotations

import socket
import statistics
import time

from benchmarks import load, process
from benchmarks.request import Request

SECONDS, ROUNDS, CONNECTIONS = 3.0, 3, 16
Variant = tuple[str, process.Server, Request, str]
"""Its name in the table, the server that is asked, the request, and the scheme."""


def wait_open(port: int) -> None:
    """Return when a server accepts connections there."""
    deadline = time.monotonic() + process.START_S
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise process.ServerFailed("no answer in time")


def cost_us(variant: Variant, seconds: float = SECONDS) -> float:
    """CPU of the server per request."""
    name, server, request, scheme = variant
    before = server.cpu_s()
    seen = load.run(server.port, request, connections=CONNECTIONS, seconds=seconds, scheme=scheme)
    if seen.refused or seen.broken > CONNECTIONS or not seen.requests:
        raise load.LoadFailed(f"{name}: {seen.requests} answered, {seen.refused} refused, {seen.broken} broken")
    return (server.cpu_s() - before) / seen.requests * 1e6


def table(variants: list[Variant], *, seconds: float = SECONDS, rounds: int = ROUNDS) -> str:
    """The cost of each, and how many times that of the first."""
    taken: dict[str, list[float]] = {variant[0]: [] for variant in variants}
    for _ in range(rounds):
        for variant in variants:
            taken[variant[0]].append(cost_us(variant, seconds))
    base = statistics.median(taken[variants[0][0]])
    lines = [f"| one row of JSON, {CONNECTIONS} connections | CPU µs per request | × |", "|---|---:|---:|"]
    for name, found in taken.items():
        middle = statistics.median(found)
        lines.append(f"| {name} | {middle:.1f} | {middle / base:.2f} |")
    return "\n".join(lines)
