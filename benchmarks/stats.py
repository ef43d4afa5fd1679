"""Medians, spreads, percentiles and ratios of repeated measurements."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """The middle of some measurements and how far they lie apart."""

    median: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        """The median; with the range where the measurements differ as they are printed."""
        median, low, high = (format(value, spec) for value in (self.median, self.low, self.high))
        return median if low == high else f"{median} ({low}–{high})"


def spread(values: Sequence[float]) -> Spread:
    """Median, smallest and largest; raises `ValueError` without values."""
    if not values:
        raise ValueError("no measurements")
    return Spread(statistics.median(values), min(values), max(values))


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> Spread:
    """The ratio round by round, so that a slow hour of the machine falls out of it."""
    return spread([a / b for a, b in zip(numerators, denominators, strict=True) if b > 0])


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` percent do not exceed (nearest rank)."""
    if not values:
        raise ValueError("no measurements")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share / 100 * len(ordered)) - 1)]


PRICE_PER_HOUR = 0.192
"""Dollars for an m5.xlarge."""
CORES = 4


def dollars_per_million(cpu_us: float) -> float:
    """Cost of a million requests of `cpu_us` each on an m5.xlarge whose four cores do nothing else."""
    core_seconds = cpu_us  # a million requests of one microsecond are one second
    return core_seconds / CORES * PRICE_PER_HOUR / 3600
