"""The marks of time that a traced request leaves behind, and the spans that they mean.

Names follow OpenTelemetry's semantic conventions for HTTP and RPC servers:
https://opentelemetry.io/docs/specs/semconv/http/http-spans/, https://opentelemetry.io/docs/specs/semconv/rpc/grpc/
"""

from __future__ import annotations

import random
from typing import NamedTuple

from kaname.errors import CallerLeft, KanameError
from kaname.serving.exchange import Fields
from kaname.telemetry.spans import Span, Value

GRPC_CODES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
OURS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""Status codes of gRPC that make a server's span one of a fault."""
_NAMES = {"models": "{model}", "versions": "{version}", "labels": "{label}"}


class Server(NamedTuple):
    """Where requests come in, for those that do not say it themselves."""

    scheme: str
    host: str
    port: int
    grpc_port: int


class Place(NamedTuple):
    """What was asked: a URL by its `route`, or a gRPC method (`route` without the first slash), and who answers."""

    server: Server
    grpc: bool
    route: str
    model: str | None = None
    version: str | None = None
    method: str = "POST"


def route_of(path: str) -> str:
    """The route of a URL that predicts: `/v1/models/iris:predict` is `/v1/models/{model}:predict`."""
    parts = path.split("/")
    at = 0
    while at < len(parts) - 1:
        name = _NAMES.get(parts[at])
        if name is not None:
            at += 1
            _, colon, verb = parts[at].rpartition(":") if at == len(parts) - 1 else ("", "", "")
            parts[at] = name + colon + verb if colon else name
        at += 1
    return "/".join(parts)


class Marks:
    """One request. Times are monotonic nanoseconds, 0 where it never came that far; `wall_ns` is `began_ns` since the
    Unix epoch. `run_id`: the span of the run, where another server knows it already. The rest is what the request and
    its answer were like."""

    __slots__ = (
        "answer_bytes", "answered_ns", "batch_calls", "batch_rows", "began_ns", "body_bytes", "cached", "compute_ns",
        "decoded_ns", "ended_ns", "error", "fields", "input_ns", "parent_id", "path", "place", "request_id", "rows",
        "run_id", "run_ns", "span_id", "started_ns", "state", "status", "trace_id", "wall_ns",
    )  # fmt: skip

    def __init__(
        self, place: Place, trace_id: str, span_id: str, parent_id: str, state: str, began_ns: int, wall_ns: int
    ) -> None:
        self.place = place
        self.trace_id, self.span_id, self.parent_id, self.state = trace_id, span_id, parent_id, state
        self.began_ns, self.wall_ns = began_ns, wall_ns
        self.started_ns = self.decoded_ns = self.run_ns = self.ended_ns = self.answered_ns = 0
        self.input_ns = self.compute_ns = self.batch_rows = self.batch_calls = 0
        self.rows = self.status = self.body_bytes = self.answer_bytes = 0
        self.request_id = self.run_id = ""
        self.error: KanameError | None = None
        self.cached = False
        self.fields: Fields = {}
        self.path = b""

    @property
    def size(self) -> int:
        """How many spans there will be."""
        return 1 + len(self._parts())

    def _parts(self) -> list[tuple[str, int, int]]:
        """The pieces of the way that the request came: name, beginning and end."""
        parts = []
        if self.started_ns and self.ended_ns:
            parts.append(("decode", self.started_ns, self.decoded_ns or self.ended_ns))
        if self.run_ns:
            ran_ns = self.run_ns + self.input_ns + self.compute_ns
            parts += [("queue", self.decoded_ns, self.run_ns), ("run", self.run_ns, ran_ns)]
        elif self.decoded_ns and self.error is not None:
            parts.append(("queue", self.decoded_ns, self.ended_ns))
        if self.ended_ns and self.error is None and self.status:
            parts.append(("encode", self.ended_ns, self.answered_ns))
        return parts

    def spans(self) -> list[Span]:
        """The server's span, and those of the pieces below it."""
        shift, place = self.wall_ns - self.began_ns, self.place
        name = place.route if place.grpc else f"{place.method} {place.route}".rstrip()
        ends = self.wall_ns, self.answered_ns + shift
        ids = self.trace_id, self.span_id, self.parent_id, self.state
        found = [Span("server", name, *ids, *ends, self._attributes(), self._fault())]
        for part, start_ns, stop_ns in self._parts():
            own = self.run_id if part == "run" else ""
            ids = self.trace_id, own or f"{random.getrandbits(64) or 1:016x}", self.span_id, self.state
            attributes = self._of_run() if part == "run" else {}
            found.append(Span("internal", part, *ids, start_ns + shift, stop_ns + shift, attributes))
        return found

    def _of_run(self) -> dict[str, Value]:
        return {
            "kaname.batch.rows": self.batch_rows,
            "kaname.batch.requests": self.batch_calls,
            "kaname.input_us": self.input_ns // 1000,
        }

    def _attributes(self) -> dict[str, Value]:
        place = self.place
        found = self._of_rpc() if place.grpc else self._of_http()
        if place.model is not None:
            found["kaname.model"] = place.model
        if place.version is not None:
            found["kaname.version"] = place.version
        if self.request_id:
            found["kaname.request_id"] = self.request_id
            found["kaname.rows"] = self.rows
        if self.cached:
            found["kaname.cached"] = True
        error = self._error()
        if error:
            found["error.type"] = error
        return found

    def _of_http(self) -> dict[str, Value]:
        server, fields = self.place.server, self.fields
        found: dict[str, Value] = {
            "http.request.method": self.place.method,
            "url.scheme": server.scheme,
            "url.path": self.path.partition(b"?")[0].decode("latin-1"),
            **_address(fields.get(b"host"), server.host, server.port),
        }
        if self.place.route:
            found["http.route"] = self.place.route
        if self.status:
            found["http.response.status_code"] = self.status
        if self.body_bytes:
            found["http.request.body.size"] = self.body_bytes
        if self.answer_bytes:
            found["http.response.body.size"] = self.answer_bytes
        if b"user-agent" in fields:
            found["user_agent.original"] = fields[b"user-agent"].decode("latin-1")
        return found

    def _of_rpc(self) -> dict[str, Value]:
        server = self.place.server
        return {
            "rpc.system.name": "grpc",
            "rpc.method": self.place.route,
            "rpc.response.status_code": self._code(),
            **_address(self.fields.get(b"host"), server.host, server.grpc_port),
        }

    def _code(self) -> str:
        """The status of gRPC by name; HTTP's 200 stands for its OK on the way here."""
        if not self.status:
            return "CANCELLED"
        return "OK" if self.status == 200 else GRPC_CODES[self.status]

    def _error(self) -> str:
        """What kind of error it was; empty where it was none (an answer that comes later, too, is none)."""
        if self.status == 200 or (not self.place.grpc and 0 < self.status < 400):
            return ""
        if self.error is not None:
            return self.error.code
        if not self.status:
            return CallerLeft.code
        return self._code() if self.place.grpc else str(self.status)

    def _fault(self) -> str | None:
        """What went wrong where it was the server's fault; found values stay out of it."""
        ours = self._code() in OURS if self.place.grpc else self.status >= 500
        if not ours:
            return None
        return "" if self.error is None else self.error.message


def _address(host: bytes | None, default: str, port: int) -> dict[str, Value]:
    """The server as the caller calls it: by the header Host where there is one."""
    name, given = default, port
    if host is not None:
        text, colon, digits = host.decode("latin-1").rpartition(":")
        if colon and digits.isdecimal():
            name, given = text, int(digits)
        else:
            name = host.decode("latin-1")
    found: dict[str, Value] = {"server.address": name.strip("[]")}
    return found | {"server.port": given} if given else found
