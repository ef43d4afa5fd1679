"""Metrics over OTLP are those of the exposition, sent by one worker at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kaname.clock import SystemClock
from kaname.storage.sole import Sole
from kaname.telemetry.exemplars import Exemplar, Exemplars
from kaname.telemetry.exposition import expose
from kaname.telemetry.metrics import Metrics
from kaname.telemetry.otlp.measures import MetricsExporter
from kaname.telemetry.otlp.sender import Sender
from tests.collector import Collector, Measured
from tests.processes import until

CUMULATIVE = 2
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
Start = Callable[..., MetricsExporter]


def exposed(text: str) -> Samples:
    """The samples of the text format."""
    return {
        (one.name, tuple(sorted(one.labels.items()))): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def measured(export: list[Measured]) -> Samples:
    """The same of an export."""
    found: Samples = {}
    for one in export:
        labels = tuple(sorted(one.attributes.items()))
        if one.kind != "histogram":
            found[one.name, labels] = one.point.as_double
            continue
        count = 0
        for bound, more in zip([*one.point.explicit_bounds, float("inf")], one.point.bucket_counts, strict=True):
            count += more
            le = "+Inf" if bound == float("inf") else f"{bound:g}"
            found[f"{one.name}_bucket", tuple(sorted((*labels, ("le", le))))] = count
        found[f"{one.name}_sum", labels] = one.point.sum
        found[f"{one.name}_count", labels] = one.point.count
    return found


@pytest.fixture
def start(collector: Collector, tmp_path: Path) -> Iterator[Start]:
    """Starts the exporter of a worker with these metrics."""
    started: list[MetricsExporter] = []

    def make(metrics: Metrics, interval_s: float = 0.02, url: str = "") -> MetricsExporter:
        sender = Sender(f"{url or collector.url}/v1/metrics", {}, ca=None, compress=False, timeout_s=5.0)
        claim, clock = Sole(tmp_path / "lock"), SystemClock()
        resource = {"service.instance.id": "node", "started.by": f"worker {metrics.slot}"}
        one = MetricsExporter(
            sender, resource, metrics, clock, live_slots=lambda: {0, 1}, claim=claim, interval_s=interval_s
        )
        one.start()
        started.append(one)
        return one

    yield make
    for one in started:
        one.stop()
    for one in started:
        one.join(5.0)


def fill(metrics: Metrics, times: int) -> None:
    """Numbers of each kind."""
    metrics.counter("kaname_runs_total", "Runs.", model="iris").add(times)
    metrics.counter("kaname_run_seconds_total", "Time.").add(times / 4)
    metrics.gauge("kaname_resident_bytes", "Memory.").set(times * 1000.0)
    latency = metrics.histogram("kaname_request_seconds", "Latency.", (0.1, 1.0), model="iris")
    for value in (0.05, 0.5, 7.0):
        latency.observe_many(value, times)


def test_the_sums_are_those_of_the_exposition(collector: Collector, start: Start, tmp_path: Path) -> None:
    """Over two workers, to the last bucket; with units, cumulative since the counters began."""
    both = [Metrics(tmp_path / "m", slot) for slot in (0, 1)]
    for metrics in both:
        fill(metrics, metrics.slot + 1)
    start(both[0])
    export = collector.metrics(lambda _: True)
    assert measured(export).items() >= exposed(expose(tmp_path / "m")).items()
    by_name = {one.name: one for one in export}
    assert by_name["kaname_run_seconds_total"].unit == "s"
    assert by_name["kaname_resident_bytes"].unit == "By"
    assert by_name["kaname_resident_bytes"].kind == "gauge"
    runs = by_name["kaname_runs_total"]
    assert runs.kind == "sum"
    assert 0 < runs.point.start_time_unix_nano <= runs.point.time_unix_nano
    later = collector.metrics(lambda one: one is not export)
    again = next(one for one in later if one.name == "kaname_runs_total")
    assert again.point.start_time_unix_nano == runs.point.start_time_unix_nano
    assert again.point.time_unix_nano > runs.point.time_unix_nano


def test_exemplars_go_along(collector: Collector, start: Start, tmp_path: Path) -> None:
    """In the data point of their series."""
    metrics = Metrics(tmp_path / "m", 0)
    fill(metrics, 1)
    kept = Exemplars(tmp_path / "m", 0)
    ids = {"trace_id": "ab" * 16, "span_id": "cd" * 8}
    labels = (("model", "iris"),)
    kept.note(Exemplar(name="kaname_request_seconds", labels=labels, value=0.5, time_ns=5, **ids), (0.1, 1.0))
    kept.save()
    start(metrics)
    export = collector.metrics(lambda _: True)
    (shown,) = next(one for one in export if one.name == "kaname_request_seconds").point.exemplars
    assert (shown.trace_id.hex(), shown.span_id.hex(), shown.as_double) == ("ab" * 16, "cd" * 8, 0.5)


def test_one_worker_sends_and_the_next_goes_on(collector: Collector, start: Start, tmp_path: Path) -> None:
    """Never two at a time; when the first one leaves, the second sends what both have counted."""
    both = [Metrics(tmp_path / "m", slot) for slot in (0, 1)]
    first = start(both[0])
    until(lambda: collector.exports, "the first one sends")
    start(both[1])
    fill(both[0], 2)
    fill(both[1], 3)
    collector.metrics(lambda one: measured(one).get(("kaname_runs_total", (("model", "iris"),))) == 5)
    assert {one[0].resource["started.by"] for one in collector.exports if one} == {"worker 0"}
    first.stop()
    first.join(5.0)
    seen = len(collector.exports)
    until(lambda: len(collector.exports) > seen + 1, "the second one sends")
    last = collector.exports[-1]
    assert last[0].resource["started.by"] == "worker 1"
    assert measured(last)["kaname_runs_total", (("model", "iris"),)] == 5


def test_the_end_is_exported(collector: Collector, start: Start, tmp_path: Path) -> None:
    """By the last one that leaves, whose interval has not come round."""
    both = [Metrics(tmp_path / "m", slot) for slot in (0, 1)]
    exporters = [start(metrics, interval_s=60.0) for metrics in both]
    for metrics in both:
        fill(metrics, 4)
    for one in exporters:
        one.stop()
    for one in exporters:
        one.join(5.0)
    assert measured(collector.exports[-1])["kaname_runs_total", (("model", "iris"),)] == 8


def test_a_collector_that_refuses_is_counted(collector: Collector, start: Start, tmp_path: Path) -> None:
    """And asked again at the next interval, when its sums say everything."""
    metrics = Metrics(tmp_path / "m", 0)
    fill(metrics, 1)
    collector.status = 500
    start(metrics)
    failures = metrics.counter("kaname_otlp_failures_total", "Exports that a collector did not take.", signal="metrics")
    until(lambda: failures.value >= 2, "failures are counted")
    collector.status = 200
    collector.metrics(lambda one: measured(one)["kaname_runs_total", (("model", "iris"),)] == 1)
