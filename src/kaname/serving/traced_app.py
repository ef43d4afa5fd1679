"""Traces of the requests that do not predict: control resources, streams, metadata."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from kaname.serving.exchange import Head
from kaname.serving.marks import Marks, Place
from kaname.serving.traced import Tracing
from kaname.telemetry.tracecontext import parent_of, traceparent

QUIET = frozenset({"/health/live", "/health/ready", "/metrics"})
"""Asked all day long by machines: not traced."""


class TracedApp:
    """ASGI middleware: a server's span for each request that is traced. What is done for it belongs to that span, as
    its own `traceparent` says from here on; its log lines carry the ids."""

    def __init__(self, tracing: Tracing, app: ASGIApp) -> None:
        self._tracing = tracing
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in QUIET:
            await self._app(scope, receive, send)
            return
        head = Head(scope["path"].encode("latin-1", "replace"), dict(scope["headers"]))
        marks = self._tracing.begin(self._place(scope), head, 0)
        if marks is not None:
            await self._traced(marks, scope, receive, send)
            return
        given = head.fields.get(b"traceparent")
        await self._app(scope if given is None or parent_of(given) else _without(scope), receive, send)

    def _place(self, scope: Scope) -> Place:
        """Its route, once the router has written what it found into the scope."""
        found: dict[str, str] = scope.get("path_params", {})
        route = getattr(scope.get("route"), "path", "")
        return Place(self._tracing.server, False, route, found.get("model"), found.get("version"), scope["method"])

    async def _traced(self, marks: Marks, scope: Scope, receive: Receive, send: Send) -> None:
        own = (b"traceparent", traceparent(marks.trace_id, marks.span_id))
        scope = _without(scope)
        scope["headers"].append(own)
        status = 0

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            with bound_contextvars(trace_id=marks.trace_id, span_id=marks.span_id):
                await self._app(scope, receive, noted)
        except Exception:
            status = status or 500
            raise
        finally:
            marks.place = self._place(scope)
            self._tracing.finish(marks, status, 0)


def _without(scope: Scope) -> Scope:
    """The same request as if it had come without a trace; what others see in it does not change."""
    return {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != b"traceparent"]}
