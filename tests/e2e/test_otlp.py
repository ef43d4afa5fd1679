"""Traces and metrics of real servers: several workers, two servers in one trace, collectors that die."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.cli.kaname import kaname
from tests.collector import Collector, Measured, Seen
from tests.e2e.conftest import Serve
from tests.e2e.server import Server, predict
from tests.e2e.test_remote import Far, add, describe, far, trust
from tests.processes import until
from tests.servers import free_port

__all__ = ["far"]
pytestmark = pytest.mark.slow
SERVER = 2


def environment(url: str, ratio: float = 1.0) -> dict[str, str]:
    """The standard variables, and our own where there is no standard one."""
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": str(ratio),
        "OTEL_BSP_SCHEDULE_DELAY": "20",
        "OTEL_METRIC_EXPORT_INTERVAL": "100",
        "OTEL_SERVICE_NAME": "shop",
    }


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as found:
        yield found


def requests_in(export: list[Measured]) -> float:
    """How many predictions an export counts."""
    return sum(float(one.point.as_double) for one in export if one.name == "kaname_requests_total")


def test_the_sums_of_all_workers_are_sent_once(serve: Serve, collector: Collector) -> None:
    """Two workers answer and trace; one source sends metrics, equal to `/metrics`, from the last worker's end too."""
    with serve(workers=2, **environment(collector.url)) as server:
        for _ in range(30):
            assert server.predict().status_code == 200
        export = collector.metrics(lambda one: requests_in(one) == 30)
        assert {one.resource["service.instance.id"] for one in export} == {
            (server.project / ".kaname/node").read_text()
        }
        assert {one.resource["service.name"] for one in export} == {"shop"}
        with server.client() as client:
            text = client.get("/metrics").text
        shown = {
            (one.name, tuple(sorted(one.labels.items()))): one.value
            for family in text_string_to_metric_families(text)
            for one in family.samples
        }
        steady = ("kaname_requests_total", "kaname_rows_total", "kaname_loads_total")
        for one in export:
            if one.name in steady:
                assert shown[one.name, tuple(sorted(one.attributes.items()))] == one.point.as_double
        counted = [one.point for one in export if one.name == "kaname_request_seconds"]
        assert [point.count for point in counted] == [30]
        times = [point.time_unix_nano for one in collector.exports for point in (one[0].point,)]
        assert times == sorted(times), "two workers would be out of step"
        assert server.predict().status_code == 200
    assert requests_in(collector.exports[-1]) == 31
    roots = [one for one in collector.spans if one.kind == SERVER and one.name.startswith("POST")]
    assert len(roots) == 31
    assert {one.resource["kaname.worker"] for one in roots} == {0, 1}
    assert len({one.resource["service.instance.id"] for one in roots}) == 1


def test_a_trace_goes_on_in_the_server_of_a_remote_model(
    far: Far, project: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The far server's span is below the run of the near one, in the trace of the caller."""
    for name, value in environment(collector.url).items():
        monkeypatch.setenv(name, value)
    one = far("one")
    trust(project, one.admin, one.url)
    add(project, describe(project, one.url))
    with Server(project) as near:
        answer = near.predict("far")
        assert answer.status_code == 200, answer.text
        trace_id = answer.headers["traceparent"].split("-")[1]

        def servers() -> list[Seen]:
            found = [span for span in list(collector.spans) if span.trace_id == trace_id and span.kind == SERVER]
            return found if len(found) == 2 else []

        spans = until(servers, "both servers' spans")
        runs = [span for span in collector.spans if span.trace_id == trace_id and span.name == "run"]
        outer = next(span for span in spans if span.name.startswith("POST /api"))
        inner = next(span for span in spans if span is not outer)
        assert inner.name == "POST /v2/models/{model}/infer"
        assert inner.parent_id in {run.span_id for run in runs if run.parent_id == outer.span_id}


@pytest.mark.parametrize("how", ["closed", "hangs"])
def test_a_dead_collector_costs_dropped_spans_and_nothing_else(serve: Serve, collector: Collector, how: str) -> None:
    """Answers come as ever, the loss is counted, and the server ends in its usual time."""
    collector.answering.clear()
    url = collector.url if how == "hangs" else f"http://127.0.0.1:{free_port()}"
    more = {"KANAME_TELEMETRY__OTLP__QUEUE_REQUESTS": "16", "OTEL_EXPORTER_OTLP_TIMEOUT": "60000"}
    server = serve(**environment(url), **more)
    with server.client() as client:
        for _ in range(100):
            assert predict(client).status_code == 200

        def lost() -> bool:
            lines = client.get("/metrics").text.splitlines()
            found = {
                line.split()[0]: float(line.split()[1]) for line in lines if line.startswith("kaname_spans_total{")
            }
            return (
                found['kaname_spans_total{result="queue_full"}'] > 0
                and found['kaname_spans_total{result="exported"}'] == 0
            )

        until(lost, "spans are dropped and counted")
    began = time.monotonic()
    assert server.stop() == 0, server.log()
    assert time.monotonic() - began < 5.0
    assert not any(line["level"] == "error" for line in server.logged())


def test_a_mistake_is_said_before_the_server_starts(project: Path) -> None:
    """Which variable, what is in it, what it should be; and what is sent is said when it does start."""
    environ = {**environment("http://127.0.0.1:4318"), "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    ran = kaname("serve", project, "--port", "0", cwd=None, **environ)
    assert ran.code != 0
    assert "OTEL_EXPORTER_OTLP_PROTOCOL" in ran.err
    assert "http/protobuf" in ran.err


def test_the_start_says_what_is_sent_where(serve: Serve, collector: Collector) -> None:
    """One line of the log."""
    with serve(**environment(collector.url, 0.25)) as server:
        (line,) = [line for line in server.logged() if line["event"].startswith("sending")]
        assert f"traces of 0.25 of the requests to {collector.url}/v1/traces" in line["event"]
