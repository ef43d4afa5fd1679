"""The gRPC door of a worker: calls of many threads enter the endpoints on the one event loop.

Threads append to a deque and wake the loop once for as many as came meanwhile; so calls that arrive together share a
batch as those of HTTP connections do.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import NoReturn, Protocol

import grpc

from kaname.call import as_error
from kaname.errors import Overloaded
from kaname.ids import IdSource
from kaname.protobuf.messages import Message
from kaname.serving.exchange import Endpoint, Fields, Head
from kaname.serving.gate import Gate
from kaname.serving.grpc.callers import Callers
from kaname.serving.grpc.status import abort, metadata_of
from kaname.serving.grpc.ticket import Asked, Awaited, Make, Metadata, T, Ticket
from kaname.serving.routes import Router

READ = {
    name: name.encode()
    for name in (
        "authorization", "x-request-id", "x-request-timeout-ms", "x-priority", "traceparent", "tracestate", "host",
        "origin",
    )
}  # fmt: skip
"""Metadata that means what the header of that name means over HTTP."""
OWN = (b"x-request-id", b"traceparent", b"tracestate")
"""Fields that differ from call to call: heads with them are not kept."""
LONGEST_S = 86_400.0
REMEMBERED = 1024
LOG = logging.getLogger("kaname.grpc")


class Routing(Protocol):
    """What the door asks of the node."""

    def router(self) -> Router:
        """What answers now."""


class Line:
    """One endpoint, and what it has read in the metadata of its callers."""

    __slots__ = ("endpoint", "heads")

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.heads: dict[Metadata, Head] = {}


class Door:
    """Hands calls over. `ask` is for handler threads, everything else happens on the loop."""

    def __init__(
        self, node: Routing, gate: Gate, ids: IdSource, loop: asyncio.AbstractEventLoop, callers: Callers
    ) -> None:
        self._node = node
        self._callers = callers
        self._gate = gate
        self._ids = ids
        self._loop = loop
        self._arrived: deque[Ticket] = deque()
        self._woken = False
        self._router: Router | None = None
        self._lines: dict[Asked, Line] = {}

    # --- on other threads -----------------------------------------------------------------------------

    def ask(self, asked: Asked, request: Message, size: int, context: grpc.ServicerContext) -> bytes:
        """The answer of a message of `size` bytes; ends the RPC where there is none."""
        ticket = self.enter(asked, request, size, context, Awaited)
        if not ticket.wait(context):
            context.abort(grpc.StatusCode.CANCELLED, "the caller has left")
        if ticket.status != 200:
            refused(context, ticket)
        context.set_trailing_metadata((("x-request-id", ticket.request_id), *metadata_of(ticket.head)))
        return ticket.body

    def enter(self, asked: Asked, request: Message, size: int, context: grpc.ServicerContext, make: Make[T]) -> T:
        """Hand a message over on the ticket that `make` makes; it gets the answer."""
        left_s = context.time_remaining()
        deadline_ns = 0
        if left_s is not None and left_s < LONGEST_S:
            deadline_ns = time.monotonic_ns() + max(1, int(left_s * 1e9))
        ticket = make(asked, request, size, self._callers.metadata(context), deadline_ns)
        self._arrived.append(ticket)
        if not self._woken:
            self._woken = True
            self._loop.call_soon_threadsafe(self._receive)
        return ticket

    # --- on the loop ------------------------------------------------------------------------------------

    def _receive(self) -> None:
        self._woken = False  # before looking: who comes from now on wakes the loop again
        arrived = self._arrived
        while arrived:
            ticket = arrived.popleft()
            try:
                self._enter(ticket)
            except Exception as error:  # noqa: BLE001  (the guard: this call only)
                ticket.fail(as_error(error), self._ids())

    def _enter(self, ticket: Ticket) -> None:
        router = self._node.router()
        if router is not self._router:
            self._router = router
            self._lines = {}
        line = self._lines.get(ticket.asked) or self._line(router, ticket.asked)
        head = line.heads.get(ticket.metadata)
        if head is None:
            head = _head(ticket)
            refused = self._gate.may_enter(head.fields)
            if refused is not None:
                line.endpoint.refuse(*refused, head, ticket)
                return
            _keep(line, ticket.metadata, head)
        gate = self._gate
        if gate.held_bytes and gate.held_bytes + ticket.size > gate.inflight_bytes:
            line.endpoint.refuse(503, _full(gate), head, ticket)
            return
        gate.held_bytes += ticket.size
        ticket.release = gate.free
        line.endpoint.enter(head, b"", ticket)

    def _line(self, router: Router, asked: Asked) -> Line:
        endpoint = router.by_name(asked.form, asked.instance, asked.ref, asked.version, labelled=asked.labelled)
        line = Line(endpoint)
        if endpoint.lasting and len(self._lines) < 65_536:
            self._lines[asked] = line
        return line


def _head(ticket: Ticket) -> Head:
    """The fields of a call's metadata."""
    fields: Fields = {}
    for name, value in ticket.metadata:
        known = READ.get(name)
        if known is not None:
            fields[known] = value if isinstance(value, bytes) else value.encode("latin-1", "replace")
    return Head(ticket.asked.instance.encode(), fields)


def _keep(line: Line, metadata: Metadata, head: Head) -> None:
    if not any(name in head.fields for name in OWN):
        if len(line.heads) >= REMEMBERED:
            line.heads.clear()
        line.heads[metadata] = head


def _full(gate: Gate) -> Overloaded:
    return Overloaded("too many request bytes are in progress", found=f"{gate.held_bytes}", retry_after_s=0.1)


def refused(context: grpc.ServicerContext, ticket: Ticket) -> NoReturn:
    """End the RPC with the refusal on the ticket."""
    abort(context, ticket.status, ticket.head, ticket.body)


def error_text(ticket: Ticket) -> str:
    """What the refusal on the ticket says."""
    return ticket.body.decode("utf-8", "replace")
