"""Spans reach the collector as they are, and whatever it does, nobody waits and nothing vanishes uncounted."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from kaname.telemetry.families import gather
from kaname.telemetry.otlp import traces
from kaname.telemetry.otlp.traces import BATCH, TraceExporter
from tests.collector import Collector
from tests.processes import until
from tests.servers import free_port
from tests.telemetry.otlp.conftest import Broken, Export, Request


def results(folder: Path) -> dict[str, float]:
    """Spans by what became of them, and failed exports."""
    found: dict[str, float] = {}
    for family in gather(folder / "metrics"):
        for labels, value in family.points:
            assert isinstance(value, float)
            found["failures" if family.name == "kaname_otlp_failures_total" else labels[0][1]] = value
    return found


def test_a_span_arrives_as_it_is(collector: Collector, export: Export) -> None:
    """Ids, times, parents, state, attributes of each type, the fault, and who sends."""
    export().offer(Request(5))
    spans = collector.trace(f"{5:032x}")
    root, part = spans["root"], spans["part"]
    assert (root.kind, root.parent_id, root.state, root.start_ns, root.end_ns) == (2, "", "a=1", 1_000, 9_000)
    assert root.attributes == {"text": "Grüße", "number": -7, "large": 2**40, "flag": True, "off": False}
    assert (root.status, root.message) == (2, "broken")
    assert (part.kind, part.parent_id, part.status) == (1, root.span_id, 0)
    assert root.resource == {"service.name": "test", "process.pid": 7}
    assert collector.headers[0]["api-key"] == "k"


def test_exports_can_be_compressed(collector: Collector, export: Export) -> None:
    """And the collector is told so."""
    export(compress=True).offer(Request())
    collector.trace(f"{1:032x}")
    assert collector.headers[0]["content-encoding"] == "gzip"


def test_many_requests_are_sent_in_batches(collector: Collector, export: Export, tmp_path: Path) -> None:
    """All of them, over one connection that is kept, without waiting for the next interval."""
    exporter = export(queue=10_000, interval_s=60.0)
    for number in range(BATCH):
        exporter.offer(Request(number + 1))
    until(lambda: len(collector.spans) == 2 * BATCH, "a full batch is sent at once")
    assert len(collector.headers) == 1
    assert until(lambda: results(tmp_path).get("exported"), "it is counted") == 2 * BATCH


def test_what_is_left_is_sent_at_the_end(collector: Collector, export: Export, tmp_path: Path) -> None:
    """A stop does not wait for the interval, nor lose what came before it."""
    exporter = export(interval_s=60.0)
    for number in range(700):
        exporter.offer(Request(number + 1))
    exporter.stop()
    exporter.join(5.0)
    assert len(collector.spans) == 1400
    assert results(tmp_path) == {"exported": 1400, "queue_full": 0, "failed": 0, "rejected": 0, "failures": 0}


def test_a_queue_that_is_full_drops_and_counts(collector: Collector, export: Export, tmp_path: Path) -> None:
    """The collector takes its time: what comes meanwhile and does not fit is gone, and known to be."""
    collector.answering.clear()
    exporter = export(queue=10, interval_s=60.0)
    for number in range(25):
        exporter.offer(Request(number + 1, size=3))
    assert results(tmp_path)["queue_full"] == 15 * 3
    collector.answering.set()
    exporter.stop()
    exporter.join(5.0)
    assert results(tmp_path)["exported"] == 10 * 3


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_collector_that_is_busy_is_asked_again(
    collector: Collector, export: Export, tmp_path: Path, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same spans, once each."""
    monkeypatch.setattr(traces, "FIRST_PAUSE_S", 0.01)
    collector.status = status
    export().offer(Request())
    until(lambda: len(collector.headers) >= 2, "it is asked again")
    collector.status = 200
    collector.trace(f"{1:032x}")
    assert until(lambda: results(tmp_path)["exported"], "they are counted") == 2
    assert len(collector.spans) == 2
    assert results(tmp_path)["failures"] >= 2


def test_a_collector_that_refuses_is_not_asked_again(collector: Collector, export: Export, tmp_path: Path) -> None:
    """400 means that these spans will never be taken; the next ones may."""
    collector.status = 400
    exporter = export()
    exporter.offer(Request(1))
    until(lambda: results(tmp_path)["failed"] == 2, "they are given up")
    collector.status = 200
    exporter.offer(Request(2))
    collector.trace(f"{2:032x}")
    assert not any(one.trace_id == f"{1:032x}" for one in collector.spans)


def test_after_some_attempts_spans_are_given_up(
    collector: Collector, export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the queue moves on."""
    monkeypatch.setattr(traces, "FIRST_PAUSE_S", 0.001)
    collector.status = 503
    export().offer(Request())
    until(lambda: results(tmp_path)["failed"] == 2, "they are given up")
    assert results(tmp_path)["failures"] == traces.ATTEMPTS
    assert len(collector.headers) == traces.ATTEMPTS


def test_spans_that_the_collector_rejects_are_counted(collector: Collector, export: Export, tmp_path: Path) -> None:
    """A partial success: the answer is 200, and says how many were not taken."""
    collector.rejects = 1
    export().offer(Request())
    until(lambda: results(tmp_path)["rejected"] == 1, "one is rejected")
    assert results(tmp_path)["exported"] == 1


def test_a_fault_of_ours_costs_one_batch(
    collector: Collector, export: Export, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The thread lives on."""
    exporter = export()
    exporter.offer(Broken())
    until(lambda: results(tmp_path)["failures"] == 1, "it is counted")
    exporter.offer(Request(2))
    collector.trace(f"{2:032x}")


def test_a_collector_that_has_restarted_is_found_again(export: Export, tmp_path: Path) -> None:
    """The kept connection is dead; a new one is made at once, and nothing counts as a failure."""
    with Collector() as first:
        exporter, port = export(first.url), int(first.url.rsplit(":", 1)[1])
        exporter.offer(Request(1))
        first.trace(f"{1:032x}")
    with Collector(port) as second:
        exporter.offer(Request(2))
        second.trace(f"{2:032x}")
    assert results(tmp_path)["failures"] == 0


def test_a_dead_collector_does_not_hold_up_the_end(export: Export, tmp_path: Path) -> None:
    """Nobody listens: the end comes at once, and all spans are counted as lost."""
    exporter = export(f"http://127.0.0.1:{free_port()}", queue=50)
    for number in range(80):
        exporter.offer(Request(number + 1))
    until(lambda: results(tmp_path)["failures"] >= 1, "it was tried")
    lost_within(exporter, 1.0)
    found = results(tmp_path)
    assert found["failed"] + found["queue_full"] == 160
    assert found["exported"] == 0


def test_a_collector_that_hangs_does_not_hold_up_the_end(export: Export, tmp_path: Path) -> None:
    """It takes a request and never answers: the exchange is aborted."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        exporter = export(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_s=60.0)
        exporter.offer(Request())
        connection, _ = silent.accept()
        with connection:
            assert connection.recv(1)
            exporter.offer(Request(2))
            lost_within(exporter, 2.0)
    assert results(tmp_path)["failed"] == 4


def lost_within(exporter: TraceExporter, seconds: float) -> None:
    """Stop it, which must not take longer."""
    began = time.monotonic()
    exporter.stop()
    exporter.join(1.0)
    assert time.monotonic() - began < seconds
