"""What became of everything that the soak's clients did, and what the server's processes held meanwhile."""

from __future__ import annotations

import math
import os
import threading
import time
from array import array
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

SAMPLE_S = 0.5
KEPT = 20
"""Complaints that are remembered word by word."""
PAGE = os.sysconf("SC_PAGE_SIZE")
PROC = Path("/proc")


class Wrong(Exception):
    """The server did what no client caused; the message says what was expected."""


@dataclass(slots=True)
class Counted:
    """One activity: what it did, how often the server refused what had to be refused, what went wrong."""

    done: int = 0
    refused: int = 0
    left: int = 0
    wrong: int = 0
    seconds: array[float] = field(default_factory=lambda: array("d"))

    def quantile_ms(self, share: float) -> float:
        """Of the times of what was done; NaN for nothing."""
        if not self.seconds:
            return math.nan
        return 1000 * sorted(self.seconds)[min(len(self.seconds) - 1, int(share * len(self.seconds)))]


class Tally:
    """Counts for many threads; each activity is counted by one thread only."""

    def __init__(self) -> None:
        self.counted: dict[str, Counted] = {}
        self.complaints: list[str] = []
        self.reasons: Counter[str] = Counter()

    def of(self, name: str) -> Counted:
        """The counts of an activity."""
        return self.counted.setdefault(name, Counted())

    def complain(self, name: str, error: BaseException) -> None:
        """Something went wrong that no client caused."""
        self.of(name).wrong += 1
        self.reasons[name] += 1
        if len(self.complaints) < KEPT:
            self.complaints.append(f"{name}: {type(error).__name__}: {error}"[:600])

    @property
    def wrong(self) -> int:
        return sum(counted.wrong for counted in self.counted.values())


@dataclass(frozen=True, slots=True)
class Held:
    """The server's lasting processes together at one moment."""

    at_s: float
    resident: int
    anonymous: int
    """Bytes that are no pages of files."""
    files: int
    threads: int


def held(pids: list[int], at_s: float) -> Held:
    """What these processes hold now. Raises FileNotFoundError where one of them has ended."""
    pages = [[int(word) for word in (PROC / str(pid) / "statm").read_text().split()] for pid in pids]
    return Held(
        at_s=at_s,
        resident=PAGE * sum(resident for _, resident, *_ in pages),
        anonymous=PAGE * sum(resident - shared for _, resident, shared, *_ in pages),
        files=sum(_entries(pid, "fd") for pid in pids),
        threads=sum(_entries(pid, "task") for pid in pids),
    )


def _entries(pid: int, of: str) -> int:
    return sum(1 for _ in (PROC / str(pid) / of).iterdir())


class Watched:
    """Samples the processes until the block ends; `ended` when one of them is gone."""

    def __init__(self, pids: list[int]) -> None:
        self._pids = pids
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.samples: list[Held] = []
        self.ended = False

    def _watch(self) -> None:
        began = time.monotonic()
        while not self._over.wait(SAMPLE_S):
            try:
                self.samples.append(held(self._pids, time.monotonic() - began))
            except (FileNotFoundError, ProcessLookupError):
                self.ended = True
                return

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def second_half(samples: list[Held]) -> list[Held]:
    """The samples after the warm-up: those of the second half of the time."""
    middle = samples[-1].at_s / 2
    return [sample for sample in samples if sample.at_s >= middle]


def growth(points: list[tuple[float, float]]) -> float:
    """How much the straight line through the points (least squares) rises from the first to the last of them."""
    count = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    if not spread:
        return 0.0
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    return slope * (points[-1][0] - points[0][0])
