"""Time as an argument: nothing below the composition root asks the operating system for it directly."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Wall time and monotonic time."""

    def time_ns(self) -> int:
        """Nanoseconds since the Unix epoch, UTC; may jump when the machine's clock is set."""

    def monotonic_ns(self) -> int:
        """Nanoseconds from an arbitrary start; never goes back."""

    def monotonic(self) -> float:
        """The same in seconds: a third of the cost where a float is what is calculated with."""


class SystemClock:
    """The machine's own clock."""

    __slots__ = ()

    time_ns = staticmethod(time.time_ns)
    monotonic_ns = staticmethod(time.monotonic_ns)
    monotonic = staticmethod(time.monotonic)


class ManualClock:
    """A clock that stands still until it is told to move; both times move together."""

    __slots__ = ("_monotonic_ns", "_time_ns")

    def __init__(self, time_ns: int = 1_700_000_000_000_000_000, monotonic_ns: int = 1_000_000_000) -> None:
        self._time_ns = time_ns
        self._monotonic_ns = monotonic_ns

    def time_ns(self) -> int:
        return self._time_ns

    def monotonic_ns(self) -> int:
        return self._monotonic_ns

    def monotonic(self) -> float:
        return self._monotonic_ns / 1e9

    def advance(self, *, ms: float) -> None:
        """Move both times forward by `ms` milliseconds."""
        step = int(ms * 1_000_000)
        if step < 0:
            raise ValueError(f"a clock does not go back: {ms} ms")
        self._time_ns += step
        self._monotonic_ns += step
