"""The sum of all slots' files: every metric by name, for whatever form it leaves the process in."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Container
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from kaname.telemetry.slotfile import Kind, Series, scan, slot_of

Labels = tuple[tuple[str, str], ...]
Reading = tuple[Series, tuple[float, ...]]


class Buckets(NamedTuple):
    """A histogram: finite upper `bounds`, how many values are not above each, all of them last, and their sum."""

    bounds: tuple[float, ...]
    counts: tuple[float, ...]
    sum: float


Merge = Callable[[list[Reading]], float | Buckets]
"""Makes one value of those of several slots."""


class Point(NamedTuple):
    """One series: its labels by name, and its value over all slots."""

    labels: Labels
    value: float | Buckets


class Family(NamedTuple):
    """One metric with its series, of which there is at least one."""

    name: str
    kind: Kind
    help: str
    points: tuple[Point, ...]


def gather(folder: Path, live: Container[int] | None = None) -> list[Family]:
    """Every metric of the files in `folder`, by name.

    Counters and histograms are summed over all slots, also of workers that are gone. A gauge counts where its slot is
    in `live` (None: everywhere that one was set and not given back). Slots whose histograms have different buckets
    (a rolling upgrade) are summed at the bounds they share, where both are exact. A number that is being written while
    it is read is seen before or after, never in between; two numbers may be from different moments.
    """
    readings: dict[str, list[Reading]] = {}
    for path in sorted(folder.glob("slot-*.metrics")):
        slot = slot_of(path)
        if slot is None:
            continue
        for series, values in _read(path):
            if series.kind != "gauge" or live is None or slot in live:
                readings.setdefault(series.name, []).append((series, values))
    return [_family(name, readings[name]) for name in sorted(readings)]


def _read(path: Path) -> list[Reading]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    found = [(series, struct.unpack_from(f"<{series.cells}d", content, at)) for series, at in scan(content)]
    return [(series, values) for series, values in found if not math.isnan(values[0])]


def _family(name: str, readings: list[Reading]) -> Family:
    """One metric; where slots disagree about what it is, the last one read says."""
    last = readings[-1][0]
    by_labels: dict[Labels, list[Reading]] = {}
    for series, values in readings:
        if series.kind == last.kind:
            by_labels.setdefault(tuple(sorted(series.labels)), []).append((series, values))
    merges: dict[Kind, Merge] = {"counter": _counter, "gauge": _gauge, "histogram": _histogram}
    merge = merges[last.kind]
    points = tuple(Point(labels, merge(by_labels[labels])) for labels in sorted(by_labels))
    return Family(name, last.kind, last.help, points)


def _counter(readings: list[Reading]) -> float:
    return math.fsum(values[0] for _, values in readings)


def _gauge(readings: list[Reading]) -> float:
    values = [values[0] for _, values in readings]
    return max(values) if readings[-1][0].policy == "max" else sum(values)


def _histogram(readings: list[Reading]) -> Buckets:
    if len(readings) == 1:
        [(series, values)] = readings
        return Buckets(series.bounds, tuple(accumulate(values[:-1])), values[-1])
    shared = set(readings[0][0].bounds).intersection(*(series.bounds for series, _ in readings))
    bounds = [*sorted(shared), math.inf]
    counts = dict.fromkeys(bounds, 0.0)
    for series, values in readings:
        for bound, count in zip((*series.bounds, math.inf), accumulate(values[:-1]), strict=True):
            if bound in counts:
                counts[bound] += count
    return Buckets(tuple(bounds[:-1]), tuple(counts.values()), math.fsum(values[-1] for _, values in readings))
