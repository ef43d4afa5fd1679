"""Identifiers that sort by the time they were made and cost a fraction of a microsecond."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from itertools import count

from kaname.clock import Clock

IdSource = Callable[[], str]
"""Returns a new identifier at each call; never the same twice, across processes and restarts."""


def request_ids(clock: Clock) -> IdSource:
    """A source of 28-character hexadecimal request ids: start time (µs), 32 random bits, a counter.

    The prefix is drawn once per process, so an id costs one counter step and one format; ids of one
    process sort by the order they were made, ids of different processes by the processes' start times.
    """
    prefix = f"{clock.time_ns() // 1000:014x}{secrets.token_hex(4)}"[1:]
    step = count().__next__

    def next_id() -> str:
        return "%s%07x" % (prefix, step())  # noqa: UP031  (twice as fast as an f-string with a width)

    return next_id


def counting_ids(prefix: str = "id-") -> IdSource:
    """Predictable ids for tests: `id-1`, `id-2`, …"""
    step = count(1)
    return lambda: f"{prefix}{next(step)}"
