"""The Catalog of a node: what it knows, what its workers have counted, and how a model is loaded and unloaded."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from kaname.errors import KanameError, Unavailable
from kaname.models.types import ModelInfo, VersionInfo
from kaname.serving.oip.types import Duration, InferenceStatistics, ModelStatistics
from kaname.serving.snapshot import ModelEntry, Snapshot
from kaname.telemetry.slotfile import scan

SETTLE_S = 60.0
Settled = Callable[[int, float], list[str]]
"""Waits until every worker has applied the change of this number; returns a line per worker that has not."""


class Knows(Protocol):
    """What the catalog asks of the node (`serving.node.Node`)."""

    snapshot: Snapshot

    def entry(self, ref: str) -> ModelEntry:
        """A model by name or number."""

    def version(self, ref: str, version: str | None) -> VersionInfo:
        """A version, or the one that answers."""

    def unready(self, info: VersionInfo) -> KanameError | None:
        """Why it cannot answer without loading first; None: it can."""


class Registry(Protocol):
    """What the catalog asks of the registry (`models.registry.Models`)."""

    def set_loaded(self, ref: int | str, loaded: bool, *, who: str) -> ModelInfo:
        """Let the model answer, or not."""

    def seq(self) -> int:
        """Number of the last change."""


class NodeCatalog:
    """`Catalog` over a node, the registry and the metrics of all workers."""

    def __init__(self, node: Knows, registry: Registry, settled: Settled, metrics_folder: Path) -> None:
        self._node = node
        self._registry = registry
        self._settled = settled
        self._metrics_folder = metrics_folder

    def models(self) -> Sequence[ModelEntry]:
        return self._node.snapshot.models

    def entry(self, model: str) -> ModelEntry:
        return self._node.entry(model)

    def version(self, model: str, version: str | None) -> VersionInfo:
        return self._node.version(model, version)

    def is_ready(self, model: str, version: str | None) -> bool:
        return not self.unready(model, version)

    def unready(self, model: str, version: str | None) -> str:
        self._node.entry(model)  # an unknown model is an error, one that cannot be asked is only not ready
        try:
            return self.missing(self._node.version(model, version))
        except Unavailable as error:
            return str(error)

    def missing(self, info: VersionInfo) -> str:
        reason = self._node.unready(info)
        return "" if reason is None else str(reason)

    def load(self, model: str, who: str) -> None:
        self._set(model, True, who)

    def unload(self, model: str, who: str) -> None:
        self._set(model, False, who)

    def _set(self, model: str, loaded: bool, who: str) -> None:
        self._registry.set_loaded(self._node.entry(model).info.id, loaded, who=who)
        laggards = self._settled(self._registry.seq(), SETTLE_S)
        if laggards:
            raise Unavailable("accepted, but not everywhere in force yet", where=model, found="; ".join(laggards))

    def statistics(self, versions: Sequence[VersionInfo]) -> list[ModelStatistics]:
        totals = Totals(self._metrics_folder)
        return [_statistics(info, totals) for info in versions]


class Totals:
    """The request path's numbers, summed over the files of all workers at one moment."""

    def __init__(self, folder: Path) -> None:
        self._cells: dict[tuple[str, str, str], list[tuple[str, tuple[float, ...]]]] = {}
        for path in folder.glob("slot-*.metrics"):
            content = path.read_bytes()
            for series, at in scan(content):
                labels = dict(series.labels)
                if "model" in labels and "version" in labels:
                    cells = struct.unpack_from(f"<{series.cells}d", content, at)
                    key = (series.name, labels["model"], labels["version"])
                    self._cells.setdefault(key, []).append((labels.get("code") or labels.get("result", ""), cells))

    def counter(self, name: str, info: VersionInfo, *, wanted: Callable[[str], bool] = lambda _: True) -> float:
        """Sum of a counter over its `code` (or `result`) labels that are wanted."""
        return sum(cells[0] for code, cells in self._cells.get((name, info.model, info.version), ()) if wanted(code))

    def latest(self, name: str, info: VersionInfo) -> float:
        """The highest value of a gauge; 0.0 where there is none."""
        found = (cells[0] for _, cells in self._cells.get((name, info.model, info.version), ()))
        return max((value for value in found if value == value), default=0.0)

    def histogram(self, name: str, info: VersionInfo) -> tuple[float, float]:
        """Count and sum of a histogram."""
        found = self._cells.get((name, info.model, info.version), ())
        return sum(sum(cells[:-1]) for _, cells in found), sum(cells[-1] for _, cells in found)


def _statistics(info: VersionInfo, totals: Totals) -> ModelStatistics:
    _, success_s = totals.histogram("kaname_request_seconds", info)
    runs, _ = totals.histogram("kaname_batch_rows", info)
    return ModelStatistics(
        name=info.model,
        version=info.version,
        last_inference=int(totals.latest("kaname_last_run_seconds", info) * 1000),
        inference_count=int(totals.counter("kaname_rows_total", info)),
        execution_count=int(runs),
        inference_stats=InferenceStatistics(
            success=_duration(totals.counter("kaname_requests_total", info, wanted=lambda c: c == "ok"), success_s),
            fail=_duration(
                totals.counter("kaname_requests_total", info, wanted=lambda c: c != "ok"),
                totals.counter("kaname_failed_seconds_total", info),
            ),
            queue=_duration(
                totals.counter("kaname_requests_total", info, wanted=lambda c: c == "ok"),
                totals.counter("kaname_queue_seconds_total", info),
            ),
            compute_input=_duration(runs, totals.counter("kaname_input_seconds_total", info)),
            compute_infer=_duration(runs, totals.counter("kaname_run_seconds_total", info)),
            cache_hit=_duration(totals.counter("kaname_cache_requests_total", info, wanted=lambda r: r != "miss"), 0),
            cache_miss=_duration(totals.counter("kaname_cache_requests_total", info, wanted=lambda r: r == "miss"), 0),
        ),
    )


def _duration(count: float, seconds: float) -> Duration:
    return Duration(int(count), int(seconds * 1e9))
