"""A collector, and what a worker would send to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kaname.clock import SystemClock
from kaname.secret import Secret
from kaname.telemetry.metrics import Metrics
from kaname.telemetry.otlp.sender import Sender
from kaname.telemetry.otlp.traces import TraceExporter, TraceMeters
from kaname.telemetry.spans import Span, Value
from tests.collector import Collector

Export = Callable[..., TraceExporter]


class Request:
    """A traced request of `size` spans, whose trace has `number` as its id."""

    def __init__(self, number: int = 1, size: int = 2) -> None:
        self.size = size
        self._trace_id = f"{number:032x}"

    def spans(self) -> list[Span]:
        ids = [f"{at + 1:016x}" for at in range(self.size)]
        attributes: dict[str, Value] = {"text": "Grüße", "number": -7, "large": 2**40, "flag": True, "off": False}
        found = [Span("server", "root", self._trace_id, ids[0], "", "a=1", 1_000, 9_000, attributes, "broken")]
        return found + [Span("internal", "part", self._trace_id, one, ids[0], "", 2_000, 3_000, {}) for one in ids[1:]]


class Broken(Request):
    """One whose spans cannot be built."""

    def spans(self) -> list[Span]:
        raise RuntimeError("a fault of our own")


@pytest.fixture
def collector() -> Iterator[Collector]:
    """One that takes what it gets, until it is told otherwise."""
    with Collector() as found:
        yield found


def sender(url: str, *, compress: bool = False, timeout_s: float = 5.0, ca: str | None = None) -> Sender:
    """One to the traces of a collector."""
    return Sender(f"{url}/v1/traces", {"api-key": Secret("k")}, ca=ca, compress=compress, timeout_s=timeout_s)


@pytest.fixture
def export(collector: Collector, tmp_path: Path) -> Iterator[Export]:
    """Makes and starts an exporter; `results` has the worker's numbers."""
    made: list[TraceExporter] = []
    metrics = Metrics(tmp_path / "metrics", 0)

    def make(url: str = "", *, queue: int = 1000, interval_s: float = 0.01, **options: object) -> TraceExporter:
        to = sender(url or collector.url, **options)  # type: ignore[arg-type]  # passed on as given
        resource: dict[str, Value] = {"service.name": "test", "process.pid": 7}
        meters, clock = TraceMeters(metrics), SystemClock()
        one = TraceExporter(to, resource, meters, clock, queue_requests=queue, interval_s=interval_s)
        one.start()
        made.append(one)
        return one

    yield make
    for one in made:
        one.stop()
        one.join(5.0)
    metrics.close()
