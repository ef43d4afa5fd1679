"""Counters, gauges and histograms whose numbers live in a memory-mapped file per worker slot.

A step on the request path costs one store to shared memory (0.1 to 0.3 µs): no lock, no call into another process.
Any process can sum the files of all slots (`expose`), those of workers that died included. Under CPython's
interpreter lock, `add` and `observe` may be called from any thread.

Labels are for what an operator configures (model, version, code), never for what a request brings: a series stays
until its model or version is gone (`keep`).
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Container, Sequence
from itertools import pairwise
from pathlib import Path

from kaname.telemetry.exposition import expose
from kaname.telemetry.slotfile import Kind, Policy, Series, SlotFile, slot_path

__all__ = ["LATENCY_S", "ROWS", "Counter", "Gauge", "Histogram", "Metrics", "expose"]

LATENCY_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds for latencies in seconds: a small model answers in the first two."""
ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)
"""Upper bounds for sizes of batches and queues."""

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*\Z")
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*\Z")


class Counter:
    """A number that only rises; summed over slots, kept over restarts."""

    __slots__ = ("cell",)

    def __init__(self, cells: memoryview[float]) -> None:
        self.cell = cells
        """Its one number, for code on the request path that adds to it in place."""

    def add(self, n: float = 1) -> None:
        """Count `n` (not negative) more."""
        self.cell[0] += n

    @property
    def value(self) -> float:
        """This slot's count, since the file began."""
        return float(self.cell[0])


class Gauge:
    """A number that goes up and down; 0 when its worker starts, gone when it leaves."""

    __slots__ = ("_cell",)

    def __init__(self, cells: memoryview[float]) -> None:
        self._cell = cells

    def set(self, value: float) -> None:
        """Replace the value."""
        self._cell[0] = value

    def add(self, n: float = 1) -> None:
        """Change the value by `n`, which may be negative."""
        self._cell[0] += n

    @property
    def value(self) -> float:
        """This slot's present value."""
        return float(self._cell[0])


class Histogram:
    """Counts of values by bucket, and their sum. A value belongs to the first bucket whose bound is not below it."""

    __slots__ = ("bounds", "cells", "sum_at")

    def __init__(self, cells: memoryview[float], bounds: Sequence[float]) -> None:
        self.cells = cells
        self.bounds = tuple(bounds)
        self.sum_at = len(bounds) + 1

    def observe(self, value: float) -> None:
        """Count one value, which must be finite."""
        cells = self.cells
        cells[bisect_left(self.bounds, value)] += 1
        cells[self.sum_at] += value

    def observe_many(self, value: float, n: int) -> None:
        """Count the same value `n` times (the requests of one batch) at the cost of one."""
        cells = self.cells
        cells[bisect_left(self.bounds, value)] += n
        cells[self.sum_at] += value * n

    @property
    def count(self) -> int:
        """How many values this slot has counted."""
        return int(sum(self.cells[: self.sum_at]))


class Metrics:
    """The metrics of the worker that owns `slot`; asking again for a series returns the same numbers.

    Raises ValueError for names that Prometheus does not allow, for a counter whose name does not end in `_total`, and
    for a name that has two kinds or help texts; Conflict when another process owns the slot.
    """

    def __init__(self, folder: Path, slot: int) -> None:
        self.folder, self.slot = folder, slot
        self._file = SlotFile(slot_path(folder, slot))
        self._known = dict(self._file.found)
        self._families: dict[str, tuple[Kind, str]] = {}
        self._owned: dict[tuple[str, str], list[Series]] = {}
        for series in self._known:
            self._own(series)
        self._clear_gauges()

    def counter(self, name: str, help: str, **labels: str) -> Counter:  # noqa: A002  (Prometheus' own word)
        """The counter `name` with these labels; its name ends in `_total`."""
        if not name.endswith("_total"):
            raise ValueError(f"the name of a counter ends in _total; found {name!r}")
        return Counter(self._cells(Series(name=name, kind="counter", help=help, labels=_labels(labels))))

    def gauge(self, name: str, help: str, *, policy: Policy = "sum", **labels: str) -> Gauge:  # noqa: A002
        """The gauge `name` with these labels; `policy` says how the values of several workers become one."""
        series = Series(name=name, kind="gauge", help=help, labels=_labels(labels), policy=policy)
        gauge = Gauge(self._cells(series))
        if math.isnan(gauge.value):
            gauge.set(0.0)
        return gauge

    def histogram(
        self,
        name: str,
        help: str,  # noqa: A002
        buckets: Sequence[float] = LATENCY_S,
        **labels: str,
    ) -> Histogram:
        """The histogram `name` with these labels; `buckets` are rising, finite upper bounds."""
        bounds = tuple(float(b) for b in buckets)
        if not bounds or any(b <= a for a, b in pairwise(bounds)) or not math.isfinite(bounds[-1]):
            raise ValueError(f"buckets of {name} are rising finite bounds; found {bounds}")
        series = Series(name=name, kind="histogram", help=help, labels=_labels(labels, "le"), bounds=bounds)
        return Histogram(self._cells(series), bounds)

    def keep(self, known: Container[tuple[str, str]]) -> None:
        """Forget the series of models and versions that are not in `known`, where a version is (model, version) and a
        model (model, ""). Whoever still counts in them counts for nobody."""
        for whose in [whose for whose in self._owned if whose not in known]:
            for series in self._owned.pop(whose):
                cells = self._known.pop(series)
                for at in range(series.cells):
                    cells[at] = math.nan

    def close(self) -> None:
        """Give the slot back. Counters stay in the file; gauges vanish from the sum."""
        self._clear_gauges()
        self._file.close()

    def _cells(self, series: Series) -> memoryview[float]:
        if not _NAME.match(series.name):
            raise ValueError(f"not a name of a metric: {series.name!r}")
        family = (series.kind, series.help)
        if self._families.setdefault(series.name, family) != family:
            raise ValueError(f"{series.name} is {self._families[series.name]}; found {family}")
        found = self._known.get(series)
        if found is None:
            found = self._known[series] = self._file.append(series)
            self._own(series)
        return found

    def _own(self, series: Series) -> None:
        labels = dict(series.labels)
        if "model" in labels:
            self._owned.setdefault((labels["model"], labels.get("version", "")), []).append(series)

    def _clear_gauges(self) -> None:
        """NaN marks a gauge that nobody sets: what a dead worker last said is no longer true."""
        for series, cells in self._known.items():
            if series.kind == "gauge":
                cells[0] = math.nan


def _labels(labels: dict[str, str], *reserved: str) -> tuple[tuple[str, str], ...]:
    for name in labels:
        if name in reserved or not _LABEL.match(name):
            raise ValueError(f"not a name of a label here: {name!r}")
    return tuple((name, str(value)) for name, value in labels.items())
