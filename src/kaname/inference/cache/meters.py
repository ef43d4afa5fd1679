"""What the result cache of one version has done, as numbers."""

from __future__ import annotations

from typing import Literal

from kaname.telemetry.metrics import Metrics

Result = Literal["hit", "shared", "joined", "miss"]
RESULTS: tuple[Result, ...] = ("hit", "shared", "joined", "miss")


class CacheMeters:
    """`hit`: found in memory; `shared`: found where nodes share answers; `joined`: answered by an equal request that
    was in progress; `miss`: the model ran."""

    def __init__(self, metrics: Metrics, model: str, version: str) -> None:
        text = "Requests that a result cache looked at, by what it found."
        self.hit, self.shared, self.joined, self.miss = (
            metrics.counter("kaname_cache_requests_total", text, model=model, version=version, result=result)
            for result in RESULTS
        )
        self.bytes = metrics.gauge("kaname_cache_bytes", "Bytes of kept answers.", model=model)
        self.evicted = metrics.counter(
            "kaname_cache_evictions_total", "Kept answers that made room for others.", model=model
        )
