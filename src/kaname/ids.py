"""Identifiers that sort by the time they were made and cost a fraction of a microsecond."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from itertools import count

from kaname.clock import Clock

IdSource = Callable[[], str]
"""Returns a new identifier at each call; never the same twice, across processes and restarts."""


def request_ids(clock: Clock, *, first: int = 0) -> IdSource:
    """A source of 28-character hexadecimal request ids: start time (µs), 20 random bits, a counter from `first` on.

    The prefix is drawn once per process, so an id costs one counter step and one format; ids of one
    process sort by the order they were made, ids of different processes by the processes' start times.
    The counter has 40 bits: enough for three years of 10,000 requests a second.
    """
    prefix = f"{clock.time_ns() // 1000:013x}{secrets.randbits(20):05x}"
    step = count(first).__next__

    def next_id() -> str:
        return "%s%010x" % (prefix, step())  # noqa: UP031  (twice as fast as an f-string with a width)

    return next_id


def counting_ids(prefix: str = "id-") -> IdSource:
    """Predictable ids for tests: `id-1`, `id-2`, …"""
    step = count(1)
    return lambda: f"{prefix}{next(step)}"
