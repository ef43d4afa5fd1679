"""Interleaved rounds: every entry in turn, again and again, so that no one has the machine's good hour alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from benchmarks import load
from benchmarks.process import Server
from benchmarks.request import Request
from benchmarks.stats import Spread, ratios, spread

WARM_UP_S = 1.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of a table: a running server and what it is asked. Two entries may share a server."""

    name: str
    title: str
    server: Server
    request: Request


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of the load against one entry."""

    model: str
    entry: str
    connections: int
    round: int
    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    """User and system time of the whole process tree per request."""
    failed: int

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def measure(model: str, entry: Entry, connections: int, number: int, seconds: float) -> Sample:
    """Load one entry and account for the CPU time of its process tree.

    A second that is not counted comes first: a server that sat idle while the others had their turn runs with cold
    caches, and with pages that the system has taken back meanwhile.
    """
    load.run(entry.server.port, entry.request, connections=connections, seconds=WARM_UP_S)
    before = entry.server.cpu_s()
    seen = load.run(entry.server.port, entry.request, connections=connections, seconds=seconds)
    used = entry.server.cpu_s() - before
    failed = seen.refused + seen.broken
    cpu_us = used / max(1, seen.requests) * 1e6
    return Sample(model, entry.name, connections, number, seen.per_s, seen.p50_ms, seen.p99_ms, cpu_us, failed)


def interleave(
    model: str,
    entries: Sequence[Entry],
    *,
    rounds: int,
    connections: Sequence[int],
    seconds: float,
    said: Callable[[Sample], None],
    lost: Callable[[Entry, load.LoadFailed], None],
) -> list[Sample]:
    """A B C … A B C … for each number of connections.

    `said` hears of each run as it ends; `lost` of an entry that no longer answers, which then sits out the rest.
    """
    samples: list[Sample] = []
    here = list(entries)

    for number in range(rounds):
        for width in connections:
            for entry in tuple(here):
                try:
                    sample = measure(model, entry, width, number, seconds)
                except load.LoadFailed as error:
                    here.remove(entry)
                    lost(entry, error)
                else:
                    samples.append(sample)
                    said(sample)
    return samples


@dataclass(frozen=True, slots=True)
class Figures:
    """All rounds of one entry at one number of connections."""

    per_s: Spread
    p50_ms: Spread
    p99_ms: Spread
    cpu_us: Spread
    failed: int


def select(samples: Sequence[Sample], model: str, entry: str, connections: int) -> list[Sample]:
    """The runs of one entry in the order of the rounds."""
    return [s for s in samples if (s.model, s.entry, s.connections) == (model, entry, connections)]


def figures(samples: Sequence[Sample], model: str, entry: str, connections: int) -> Figures | None:
    """Their medians and spreads, or None if it did not take part."""
    runs = select(samples, model, entry, connections)
    if not runs:
        return None
    columns = {name: spread([getattr(run, name) for run in runs]) for name in ("per_s", "p50_ms", "p99_ms", "cpu_us")}
    return Figures(**columns, failed=sum(run.failed for run in runs))


def cpu_ratio(samples: Sequence[Sample], model: str, entry: str, to: str, connections: int) -> Spread | None:
    """CPU per request of `entry` as a multiple of `to`, round by round."""
    ours, theirs = select(samples, model, entry, connections), select(samples, model, to, connections)
    if not ours or len(ours) != len(theirs):
        return None
    return ratios([run.cpu_us for run in ours], [run.cpu_us for run in theirs])
