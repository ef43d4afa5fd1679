"""A collector in the test's own process: a real HTTP server that decodes what exporters send, and can misbehave."""

from __future__ import annotations

import contextlib
import gzip
import socket
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.processes import until

Attributes = dict[str, Any]


class Seen(NamedTuple):
    """A span as it arrived, with the attributes of its resource. Ids in hexadecimal."""

    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    state: str
    start_ns: int
    end_ns: int
    attributes: Attributes
    status: int
    message: str
    resource: Attributes


class Measured(NamedTuple):
    """A point of a metric as it arrived; `point` is the message."""

    name: str
    unit: str
    kind: str
    attributes: Attributes
    point: Any
    resource: Attributes


class Collector:
    """Answers 200 unless `status` says otherwise; it waits while `answering` is not set."""

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.spans: list[Seen] = []
        self.exports: list[list[Measured]] = []
        self.headers: list[dict[str, str]] = []
        self.status = 200
        self.rejects = 0
        self.retry_after = ""
        self._open: list[socket.socket] = []
        self.answering = threading.Event()
        self.answering.set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                collector._open.append(self.connection)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status, answer = collector._take(self.path, dict(self.headers.items()), body)
                self.send_response(status)
                self.send_header("content-length", str(len(answer)))
                if collector.retry_after:
                    self.send_header("retry-after", collector.retry_after)
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (as the base has it)
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=lambda: self._server.serve_forever(0.02), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.answering.set()
        self._server.shutdown()
        for one in list(self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._server.server_close()
        self._thread.join()

    def _take(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        self.answering.wait()
        headers = {name.lower(): value for name, value in headers.items()}
        self.headers.append(headers)
        if self.status != 200:
            return self.status, b""
        assert headers["content-type"] == "application/x-protobuf"
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        if path == "/v1/traces":
            self.spans += _spans(body)
            answer = ExportTraceServiceResponse()
            if self.rejects:
                answer.partial_success.rejected_spans = self.rejects
                answer.partial_success.error_message = "too old"
        else:
            assert path == "/v1/metrics"
            self.exports.append(_measured(body))
            answer = ExportMetricsServiceResponse()
        return 200, answer.SerializeToString()

    def trace(self, trace_id: str) -> dict[str, Seen]:
        """The spans of a trace by name, once its server's span is here."""

        def found() -> dict[str, Seen]:
            spans = {one.name: one for one in list(self.spans) if one.trace_id == trace_id}
            return spans if any(one.kind == 2 for one in spans.values()) else {}

        return until(found, f"the spans of trace {trace_id} arrive")

    def metrics(self, holds: Callable[[list[Measured]], bool]) -> list[Measured]:
        """The first export of metrics for which `holds` says yes."""
        return until(lambda: next((one for one in list(self.exports) if holds(one)), None) or [], "metrics arrive")


def _attributes(pairs: Any) -> Attributes:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


def _spans(body: bytes) -> list[Seen]:
    return [
        Seen(
            span.name,
            span.kind,
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            span.trace_state,
            span.start_time_unix_nano,
            span.end_time_unix_nano,
            _attributes(span.attributes),
            span.status.code,
            span.status.message,
            _attributes(within.resource.attributes),
        )
        for within in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in within.scope_spans
        for span in scope.spans
    ]


def _measured(body: bytes) -> list[Measured]:
    return [
        Measured(
            metric.name,
            metric.unit,
            kind,
            _attributes(point.attributes),
            point,
            _attributes(within.resource.attributes),
        )
        for within in ExportMetricsServiceRequest.FromString(body).resource_metrics
        for scope in within.scope_metrics
        for metric in scope.metrics
        for kind in [metric.WhichOneof("data")]
        for point in getattr(metric, kind).data_points
    ]
