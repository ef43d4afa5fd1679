"""Everything one benchmark run found; written as JSON, read by the report."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

from benchmarks.rounds import Sample


@dataclass(slots=True)
class Results:
    """Raw figures, one entry per run; medians are taken when they are printed."""

    taken: str
    machine: dict[str, str]
    versions: dict[str, str]
    not_installed: dict[str, str]
    titles: dict[str, str] = field(default_factory=dict)
    absent: dict[str, dict[str, str]] = field(default_factory=dict)
    """By model: who did not take part, and why."""
    samples: list[Sample] = field(default_factory=list)
    raw_us: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    """By model: `session.run` alone, before and after the rounds, µs per call by batch size."""
    open_loop: list[dict[str, float | str]] = field(default_factory=list)
    large_rows_per_s: dict[str, list[float]] = field(default_factory=dict)
    record: dict[str, list[str]] = field(default_factory=dict)
    """By model: lines of Kaname's own metrics about its prediction record, read after the load."""
    memory_mb: float | None = None

    def as_dict(self) -> dict[str, object]:
        fields = {name: getattr(self, name) for name in self.__slots__}
        return fields | {"samples": [sample.as_dict() for sample in self.samples]}

    def raw_call_us(self, model: str, batch: int) -> float | None:
        """Median time of `session.run` with `batch` rows, if it was measured."""
        times = [run[str(batch)] for run in self.raw_us.get(model, []) if str(batch) in run]
        return statistics.median(times) if times else None
