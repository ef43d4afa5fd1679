"""The recorder of a worker, with its numbers among the metrics."""

from __future__ import annotations

from collections.abc import Callable

from kaname.clock import Clock
from kaname.predictions.recorder import Recorder
from kaname.settings import RecordSettings
from kaname.storage.events.types import EventWriter
from kaname.telemetry.metrics import LATENCY_S, Metrics

SHORTFALLS = ("dropped", "sampled_out", "refused", "failures", "lost")
"""Counts of the recorder that should stay 0 while the disk keeps up."""


def measured_recorder(
    writer: EventWriter,
    clock: Clock,
    settings: RecordSettings,
    metrics: Metrics,
    housekeeping: Callable[[EventWriter], bool],
) -> Recorder:
    """A recorder, not started yet, that counts commits, events and what is not on disk."""
    commits = metrics.histogram("kaname_record_commit_seconds", "Commits of the record.", LATENCY_S)
    events = metrics.counter("kaname_recorded_total", "Predictions on disk.")
    missing = {
        name: metrics.gauge("kaname_record_shortfall", "Events not on disk, by reason.", reason=name)
        for name in SHORTFALLS
    }

    def on_commit(seconds: float, count: int, _: int) -> None:
        commits.observe(seconds)
        events.add(count)
        for name, gauge in missing.items():
            gauge.set(getattr(recorder.counts, name))

    recorder = Recorder(
        writer,
        clock,
        commit_ms=settings.commit_ms,
        buffer_bytes=settings.buffer_bytes,
        on_commit=on_commit,
        housekeeping=housekeeping,
    )
    return recorder
