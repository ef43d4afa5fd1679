"""Spans of requests over HTTP: the tree, its attributes, whose trace it is, and what becomes of errors."""

from __future__ import annotations

import socket
import struct
from itertools import pairwise
from typing import Any

import httpx
import pytest

from kaname.telemetry.tracecontext import parent_of
from tests.collector import Seen
from tests.processes import until
from tests.serving.traced.conftest import ROW, SPAN, TRACE, Traced

SERVER, INTERNAL = 2, 1
UNSET, ERROR = 0, 2
V2 = {"inputs": [{"name": "x", "shape": [2, 4], "datatype": "FP32", "data": [1, 2, 3, 0] * 2}]}
PARTS = ["decode", "queue", "run", "encode"]
PREDICT = "POST /api/v1/models/{model}/predict"
URLS: list[tuple[str, dict[str, Any], str, int]] = [
    ("/api/v1/models/iris/predict", {"features": ROW}, "/api/v1/models/{model}/predict", 1),
    (
        "/api/v1/models/iris/versions/1/predict",
        {"features": ROW},
        "/api/v1/models/{model}/versions/{version}/predict",
        1,
    ),
    ("/v2/models/iris/infer", V2, "/v2/models/{model}/infer", 2),
    ("/v2/models/iris/versions/1/infer", V2, "/v2/models/{model}/versions/{version}/infer", 2),
    ("/v1/models/iris:predict", {"instances": [ROW] * 3}, "/v1/models/{model}:predict", 3),
    ("/v1/models/iris/versions/1:predict", {"instances": [ROW]}, "/v1/models/{model}/versions/{version}:predict", 1),
]


def trace_of(answer: httpx.Response) -> str:
    """The id of the trace that an answer names."""
    parent = parent_of(answer.headers["traceparent"].encode())
    assert parent is not None
    return parent.trace_id


def root_of(spans: dict[str, Seen]) -> Seen:
    """The server's span."""
    (root,) = [one for one in spans.values() if one.kind == SERVER]
    return root


@pytest.mark.parametrize(("url", "body", "route", "rows"), URLS, ids=lambda value: value if "/" in str(value) else "")
def test_the_tree_of_a_prediction(
    traced: Traced, client: httpx.Client, url: str, body: dict[str, Any], route: str, rows: int
) -> None:
    """A span of the server, and below it the pieces of the way in their order, by the conventions for HTTP."""
    answer = client.post(f"{url}?verbose=1", json=body, headers={"x-request-id": "mine"})
    assert answer.status_code == 200, answer.text
    spans = traced.collector.trace(trace_of(answer))
    root = root_of(spans)
    assert root.name == f"POST {route}"
    assert root.parent_id == ""
    assert (root.status, root.message) == (UNSET, "")
    expected = {
        "http.request.method": "POST",
        "http.route": route,
        "http.response.status_code": 200,
        "url.scheme": "http",
        "url.path": url,
        "server.address": "127.0.0.1",
        "server.port": int(traced.served.address.rpartition(":")[2]),
        "user_agent.original": answer.request.headers["user-agent"],
        "http.request.body.size": len(answer.request.content),
        "http.response.body.size": len(answer.content),
        "kaname.model": "iris",
        "kaname.version": "1",
        "kaname.rows": rows,
        "kaname.request_id": "mine",
    }
    assert root.attributes == expected
    parts = [spans[name] for name in PARTS]
    assert len(spans) == 5
    assert all(one.parent_id == root.span_id and one.kind == INTERNAL for one in parts)
    assert len({one.span_id for one in spans.values()}) == 5
    assert root.start_ns <= parts[0].start_ns
    assert all(one.start_ns <= one.end_ns for one in parts)
    assert all(before.end_ns <= after.start_ns for before, after in pairwise(parts))
    assert parts[-1].end_ns <= root.end_ns
    assert spans["run"].attributes["kaname.batch.rows"] == rows
    assert spans["run"].attributes["kaname.batch.requests"] == 1


def test_the_resource_says_who_sends(traced: Traced, client: httpx.Client) -> None:
    """The project's name, this node, this process; the collector sees the configured header."""
    root = root_of(traced.collector.trace(trace_of(client.post(URLS[0][0], json=URLS[0][1]))))
    assert root.resource["service.name"] == "oip"
    assert root.resource["service.instance.id"] == traced.served.stores.node
    assert root.resource["deployment.environment.name"] == "test"
    assert root.resource["kaname.worker"] == 0
    assert traced.collector.headers[0]["authorization"] == "Bearer collector key"


@pytest.mark.parametrize("state", ["", "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"])
def test_a_traced_caller_is_followed(traced: Traced, client: httpx.Client, state: str) -> None:
    """Its trace goes on here, with its state; the answer tells it its own trace again, once."""
    parent = f"00-{TRACE[:-4]}{len(state):04x}-{SPAN}-01"
    headers = {"traceparent": parent, **({"tracestate": state} if state else {})}
    answer = client.post(URLS[0][0], json=URLS[0][1], headers=headers)
    assert answer.headers.get_list("traceparent") == [parent]
    spans = traced.collector.trace(trace_of(answer))
    assert root_of(spans).parent_id == SPAN
    assert {one.state for one in spans.values()} == {state}


def test_the_record_leads_to_the_trace_and_the_trace_to_the_record(traced: Traced, client: httpx.Client) -> None:
    """Its event names the trace, and is found by it; so is that of a request that failed. The span names the event."""
    for body, status in (URLS[0][1], "ok"), ({"features": {"x": 1}}, "error"):
        answer = client.post(URLS[0][0], json=body)
        trace_id = trace_of(answer)

        def found(trace_id: str = trace_id) -> Any:
            return client.get("/api/v1/predictions", params={"trace_id": trace_id}).json()["items"]

        (event,) = until(found, "the event is on disk")
        assert (event["trace_id"], event["status"]) == (trace_id, status)
        root = root_of(traced.collector.trace(trace_id))
        assert root.attributes["kaname.request_id"] == event["request_id"]


def test_requests_that_are_not_traced_are_recorded_without(traced: Traced, client: httpx.Client) -> None:
    """Beside others in the same block."""
    untraced = {"traceparent": f"00-{'b' * 32}-{SPAN}-00", "x-request-id": "not-traced"}
    assert client.post(URLS[0][0], json=URLS[0][1], headers=untraced).status_code == 200
    until(lambda: client.get("/api/v1/predictions/not-traced").status_code == 200, "the event is on disk")
    event = client.get("/api/v1/predictions/not-traced").json()
    assert event["trace_id"] is None


def test_a_caller_that_is_not_traced_is_followed_too(traced: Traced, client: httpx.Client) -> None:
    """Whatever the ratio of the server is: no span, and the same answer."""
    untraced = f"00-{'a' * 32}-{SPAN}-00"
    answer = client.post(URLS[0][0], json=URLS[0][1], headers={"traceparent": untraced})
    assert answer.status_code == 200
    assert answer.headers.get_list("traceparent") == [untraced]
    traced.collector.trace(trace_of(client.post(URLS[0][0], json=URLS[0][1])))  # what came later is here
    assert not any(one.trace_id == "a" * 32 for one in traced.collector.spans)


@pytest.mark.parametrize(
    "header", [f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01-x", "nonsense", f"ff-{TRACE}-{SPAN}-01"]
)
def test_a_malformed_parent_is_ignored(traced: Traced, client: httpx.Client, header: str) -> None:
    """A new trace begins, without its state, and the answer names that one only."""
    headers = {"traceparent": header, "tracestate": "congo=t61rcWkgMzE"}
    answer = client.post(URLS[0][0], json=URLS[0][1], headers=headers)
    assert len(answer.headers.get_list("traceparent")) == 1
    root = root_of(traced.collector.trace(trace_of(answer)))
    assert root.trace_id != TRACE
    assert (root.parent_id, root.state) == ("", "")


@pytest.mark.parametrize(
    ("url", "body", "headers", "status", "error", "names"),
    [
        ("/api/v1/models/iris/predict", b"{", {}, 400, "invalid_input", {"decode"}),
        ("/api/v1/models/iris/predict", b'{"features": {"x": [1, 2, "a", 4]}}', {}, 400, "invalid_input", {"decode"}),
        ("/v2/models/iris/infer", b"{}", {}, 400, "invalid_input", {"decode"}),
        ("/api/v1/models/nobody/predict", b"{}", {}, 404, "404", set()),
        ("/api/v1/models/iris/predict", b"{}", {"authorization": "Bearer wrong"}, 401, "401", set()),
        ("/api/v1/models/iris/predict", b"{}", {"content-type": "text/csv"}, 415, "unsupported_media_type", {"decode"}),
    ],
)
def test_what_the_caller_did_wrong_is_no_fault_of_the_server(
    traced: Traced,
    client: httpx.Client,
    url: str,
    body: bytes,
    headers: dict[str, str],
    status: int,
    error: str,
    names: set[str],
) -> None:
    """The status and the kind of error, but the span's own status stays unset, as the conventions want it."""
    answer = client.post(url, content=body, headers={"content-type": "application/json", **headers})
    assert answer.status_code == status, answer.text
    spans = traced.collector.trace(trace_of(answer))
    root = root_of(spans)
    assert root.attributes["http.response.status_code"] == status
    assert root.attributes["error.type"] == error
    assert (root.status, root.message) == (UNSET, "")
    assert set(spans) - {root.name} == names


def test_a_model_that_fails_is_a_fault(traced: Traced, client: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    """The span says so, and the log has a line that leads to the trace."""
    answer = client.post("/api/v1/models/moody/predict", json={"features": {"x": -1}})
    assert answer.status_code == 500
    trace_id = trace_of(answer)
    spans = traced.collector.trace(trace_id)
    root = root_of(spans)
    assert root.attributes["error.type"] == "model_failed"
    assert root.status == ERROR
    assert "RuntimeError: in no mood" in root.message
    assert set(spans) == {root.name, "decode", "queue", "run"}
    assert any(trace_id in record.getMessage() and root.span_id in record.getMessage() for record in caplog.records)


def test_a_deadline_shows_where_the_time_went(traced: Traced, client: httpx.Client) -> None:
    """504: the time is in the queue span, for the run had not ended when the caller was told."""
    headers = {"x-request-timeout-ms": "40"}
    answer = client.post("/api/v1/models/moody/predict", json={"features": {"x": 200}}, headers=headers)
    assert answer.status_code == 504, answer.text
    spans = traced.collector.trace(trace_of(answer))
    root = root_of(spans)
    assert root.attributes["error.type"] == "deadline_exceeded"
    assert root.status == ERROR
    assert spans["queue"].end_ns - spans["queue"].start_ns > 30e6


def test_requests_that_share_a_batch_say_so(traced: Traced) -> None:
    """Pipelined on one connection, so that they arrive together."""
    head = f"Host: x\r\nauthorization: {traced.key['Authorization']}\r\ncontent-type: application/json\r\n"
    body = '{"features": {"x": [1, 2, 3, 4]}}'
    one = f"POST /api/v1/models/iris/predict HTTP/1.1\r\n{head}content-length: {len(body)}\r\n\r\n{body}"
    host, port = traced.served.address.split(":")
    before = len(traced.collector.spans)
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(one.replace("Host: x", f"Host: {host}").encode() * 6)
        until(lambda: connection.recv(65536), "answers")
        runs = until(
            lambda: (
                [span for span in traced.collector.spans[before:] if span.name == "run"][5:]
                and traced.collector.spans[before:]
            ),
            "six runs",
        )
    shared = [span.attributes for span in runs if span.name == "run"]
    assert max(one["kaname.batch.requests"] for one in shared) > 1
    assert all(one["kaname.batch.requests"] == one["kaname.batch.rows"] for one in shared)


def test_a_kept_answer_has_no_run(traced: Traced, client: httpx.Client) -> None:
    """It is marked instead."""
    for cached in (False, True):
        spans = traced.collector.trace(trace_of(client.post("/api/v1/models/kept/predict", json={"features": ROW})))
        assert ("run" in spans) is not cached
        assert root_of(spans).attributes.get("kaname.cached", False) is cached


def test_a_request_that_is_too_large_is_traced(traced: Traced, client: httpx.Client) -> None:
    """It is refused before it is read, in its trace like any other."""
    host, port = traced.served.address.split(":")
    parent = f"00-{'b' * 32}-{SPAN}-01"
    head = f"POST /api/v1/models/iris/predict HTTP/1.1\r\nHost: {host}\r\ntraceparent: {parent}\r\n"
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"{head}content-length: 999999999999\r\n\r\n".encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")
    assert root_of(traced.collector.trace("b" * 32)).attributes["http.response.status_code"] == 413


def test_a_caller_that_leaves_is_seen(traced: Traced) -> None:
    """Nobody gets an answer: no status, but an error."""
    host, port = traced.served.address.split(":")
    body, key = '{"features": {"x": 200}}', traced.key["Authorization"]
    head = f"POST /api/v1/models/moody/predict HTTP/1.1\r\nHost: {host}\r\nauthorization: {key}\r\n"
    parent = f"traceparent: 00-{'c' * 32}-{SPAN}-01\r\n"
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"{head}{parent}content-length: {len(body)}\r\n\r\n{body}".encode())
        until(lambda: traced.running, "it runs")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, not an end
    root = root_of(traced.collector.trace("c" * 32))
    assert root.attributes["error.type"] == "cancelled"
    assert "http.response.status_code" not in root.attributes
    assert not traced.running


@pytest.mark.parametrize(
    ("path", "route", "model"),
    [
        ("/api/v1/models/iris", "/api/v1/models/{model}", "iris"),
        ("/v2/models/iris/ready", "/v2/models/{model}/ready", "iris"),
        ("/api/v1/nowhere", None, None),
    ],
)
def test_control_resources_are_traced_by_route(
    traced: Traced, client: httpx.Client, path: str, route: str | None, model: str | None
) -> None:
    """Their names hold no values, and where there is no route, no path either."""
    answer = client.get(path)
    (root,) = until(lambda: [one for one in traced.collector.spans if one.attributes.get("url.path") == path], path)
    assert root.name == ("GET" if route is None else f"GET {route}")
    assert root.attributes["http.response.status_code"] == answer.status_code
    assert (root.attributes.get("http.route"), root.attributes.get("kaname.model")) == (route, model)
    assert root.status == UNSET


def test_probes_and_scrapes_are_not_traced(traced: Traced, client: httpx.Client) -> None:
    """Machines ask for them all day long."""
    paths = ("/health/live", "/health/ready", "/metrics")
    for path in paths:
        assert "traceparent" not in client.get(path).headers
    assert not any(one.attributes.get("url.path") in paths for one in traced.collector.spans)


def test_the_lines_of_a_stream_belong_to_it(traced: Traced, client: httpx.Client) -> None:
    """One span for the stream, and below it one for each line."""
    lines = b'{"features": {"x": [1, 2, 3, 4]}}\n' * 3
    answer = client.post(
        "/api/v1/models/iris/predict/stream", content=lines, headers={"content-type": "application/x-ndjson"}
    )
    assert len(answer.content.splitlines()) == 3
    trace_id = trace_of(answer)

    def roots() -> list[Seen]:
        found = [one for one in list(traced.collector.spans) if one.trace_id == trace_id and one.kind == SERVER]
        return found if len(found) == 4 else []

    found = until(roots, "the stream and three lines")
    (stream,) = [one for one in found if not one.parent_id]
    assert stream.name == "POST /api/v1/models/{model}/predict/stream"
    assert {one.parent_id for one in found if one is not stream} == {stream.span_id}


def test_metrics_lead_to_a_trace(traced: Traced, client: httpx.Client) -> None:
    """The bucket that a traced request fell into names it, in the exposition and over OTLP."""
    trace_id = trace_of(client.post(URLS[0][0], json=URLS[0][1]))
    accept = {"accept": "application/openmetrics-text"}
    until(lambda: trace_id in client.get("/metrics", headers=accept).text, "an exemplar")
    assert trace_id not in client.get("/metrics").text

    def shown(export: list[Any]) -> bool:
        points = [one.point for one in export if one.name == "kaname_request_seconds"]
        return any(exemplar.trace_id.hex() == trace_id for point in points for exemplar in point.exemplars)

    traced.collector.metrics(shown)
