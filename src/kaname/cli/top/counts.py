"""The numbers of `/metrics` by model and version, their differences and sums, and percentiles of their histograms."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

Numbers = Mapping[tuple[str, str], float]
"""What one version counts: (metric, its label beside model and version, or "") -> value."""
Counts = Mapping[tuple[str, str], Numbers]
"""(model, version) -> its numbers; ("", "") has those of the whole server."""

_SAMPLE = re.compile(r'^(kaname_\w+)(?:\{((?:[^"}]|"(?:[^"\\]|\\.)*")*)\})? (\S+)', re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def parse(text: str) -> Counts:
    """Every number of Kaname's own in a page in Prometheus' text format; what is not one is passed over."""
    found: dict[tuple[str, str], dict[tuple[str, str], float]] = {}
    for name, inside, value in _SAMPLE.findall(text):
        labels = dict(_LABEL.findall(inside))
        whose = labels.pop("model", ""), labels.pop("version", "")
        found.setdefault(whose, {})[name, next(iter(labels.values()), "")] = float(value)
    return found


def since(before: Counts, after: Counts) -> Counts:
    """What was counted between two readings. A number that fell began anew, with its server."""
    return {whose: _grown(before.get(whose, {}), numbers) for whose, numbers in after.items()}


def _grown(before: Numbers, after: Numbers) -> Numbers:
    grown = {}
    for what, value in after.items():
        old = before.get(what, 0.0)
        grown[what] = value - old if value >= old else value
    return grown


def summed(parts: Iterable[Numbers]) -> Numbers:
    """The numbers of several versions together."""
    total: dict[tuple[str, str], float] = {}
    for numbers in parts:
        for what, value in numbers.items():
            total[what] = total.get(what, 0.0) + value
    return total


def by_label(numbers: Numbers, metric: str) -> dict[str, float]:
    """The values of one metric by its further label."""
    return {label: value for (name, label), value in numbers.items() if name == metric}


def buckets(numbers: Numbers, metric: str) -> list[tuple[float, float]]:
    """A histogram's upper bounds, rising, each with how many values do not exceed it."""
    found = by_label(numbers, f"{metric}_bucket")
    return sorted((float(bound), count) for bound, count in found.items())


def quantile(share: float, found: Sequence[tuple[float, float]]) -> float | None:
    """The value that `share` of a histogram's values do not exceed, as Prometheus' `histogram_quantile` has it: even
    within a bucket, at most the last finite bound. None when nothing was counted."""
    total = found[-1][1] if found else 0.0
    if total <= 0:
        return None
    low, below = 0.0, 0.0
    for bound, count in found[:-1]:
        if count >= share * total:
            return low + (bound - low) * (share * total - below) / (count - below)
        low, below = bound, count
    return low
