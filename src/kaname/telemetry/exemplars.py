"""Exemplars: of each bucket of a histogram the newest request that was traced, so that a figure leads to a trace.

A worker keeps its own in memory and writes them to a file beside its metrics when there are new ones; who is asked for
metrics reads the files of all workers.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from kaname.telemetry.families import Labels


class Exemplar(msgspec.Struct, frozen=True, kw_only=True):
    """One value of a series, and the trace that it belongs to. Ids in hexadecimal, `time_ns` since the Unix epoch."""

    name: str
    labels: Labels
    value: float
    time_ns: int
    trace_id: str
    span_id: str


ExemplarsOf = dict[tuple[str, Labels], list[Exemplar]]
"""By the name and the sorted labels of a series."""
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[Exemplar]).decode


class Exemplars:
    """Those of one worker. `note` is for the event loop, `save` for one other thread."""

    def __init__(self, folder: Path, slot: int) -> None:
        self._path = folder / f"slot-{slot:03d}.exemplars"
        self._newest: dict[tuple[str, Labels, int], Exemplar] = {}
        self._changed = False

    def note(self, one: Exemplar, bounds: Sequence[float]) -> None:
        """Show `one` in its bucket from now on."""
        self._newest[one.name, one.labels, bisect_left(bounds, one.value)] = one
        self._changed = True

    def save(self) -> None:
        """Let other processes see them, if there are new ones. Raises OSError."""
        if not self._changed:
            return
        self._changed = False
        fresh = self._path.with_suffix(f".{os.getpid()}")
        fresh.write_bytes(_encode(list(self._newest.copy().values())))
        fresh.replace(self._path)


def read_exemplars(folder: Path) -> ExemplarsOf:
    """The exemplars of all workers. A file that cannot be read counts as none."""
    found: ExemplarsOf = {}
    for path in folder.glob("slot-*.exemplars"):
        try:
            listed = _decode(path.read_bytes())
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            continue
        for one in listed:
            found.setdefault((one.name, one.labels), []).append(one)
    return found


def newest_by_bucket(exemplars: Iterable[Exemplar], bounds: Sequence[float]) -> dict[int, Exemplar]:
    """The newest of each bucket, by the bucket's place; the one behind the last bound is +Inf."""
    found: dict[int, Exemplar] = {}
    for one in sorted(exemplars, key=lambda one: one.time_ns):
        found[bisect_left(bounds, one.value)] = one
    return found
