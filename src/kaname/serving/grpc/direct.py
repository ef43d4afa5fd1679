"""Calls that predict without a thread of their own.

grpcio gives each call a thread, which waits for the message, hands it to the event loop and waits for the answer: the
processor changes threads six times per call. Here the thread that polls for what the network brings hands messages to
the loop, and the loop answers. grpcio shows nobody how; `RELIES_ON` names what of its inside is used, and where a
release lacks any of it calls go its own way.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from grpc import _server as inside
from grpc._cython import cygrpc

from kaname.call import as_error
from kaname.protobuf.messages import Message
from kaname.serving.grpc.status import OF_NUMBER, metadata_of, refusal
from kaname.serving.grpc.ticket import Asked, Make, Metadata, Ticket

RELIES_ON = (
    "_CLOSED", "_Context", "_OPEN", "_RECEIVE_MESSAGE_TOKEN", "_abort", "_is_rpc_state_active", "_possibly_finish_call",
    "_select_thread_pool_for_behavior", "_serialized_request", "_status", "_unary_response_in_pool",
)  # fmt: skip
"""Members of `grpc._server`; and that a method's own pool is given `_unary_response_in_pool` with six arguments."""
LOG = logging.getLogger("kaname.grpc")
NO_MESSAGE = b"a call needs one message"

Enter = Callable[[bytes, grpc.ServicerContext, Make[Ticket]], None]
"""Reads a message and hands a ticket, made by the third argument, to the loop. Raises KanameError."""


def supported() -> bool:
    """Whether this release of grpcio has what is used here."""
    return all(hasattr(inside, name) for name in RELIES_ON) and hasattr(cygrpc, "ReceiveMessageOperation")


class Direct(ThreadPoolExecutor):
    """Stands where grpcio expects the threads of a method."""

    def __init__(self, enter: Enter, new_id: Callable[[], str]) -> None:
        super().__init__(1)  # a thread begins with the first call that takes one: none does
        self._enter = enter
        self._new_id = new_id

    def submit(self, *given: Any) -> Any:  # type: ignore[override]  # what grpcio runs on a thread is not run
        """Begin a call; returns at once, on the thread that polls."""
        rpc_event, state = given[-6:-4]
        return _Rpc(rpc_event, state, self._enter, self._new_id)


class _Rpc:
    """One call: what grpcio takes for its Future, and the way of its answer."""

    __slots__ = ("_context", "_enter", "_event", "_new_id", "_over", "_state", "_then", "_ticket")

    def __init__(self, event: Any, state: Any, enter: Enter, new_id: Callable[[], str]) -> None:
        self._event = event
        self._state = state
        self._enter = enter
        self._new_id = new_id
        self._context = inside._Context(event, state, None)
        self._then: Callable[[_Rpc], None] | None = None
        self._ticket: Ticket | None = None
        with state.condition:
            self._over = not (inside._is_rpc_state_active(state) and self._context.add_callback(self._end))
            if not self._over:
                event.call.start_server_batch((cygrpc.ReceiveMessageOperation(0),), self._receive)
                state.due.add(inside._RECEIVE_MESSAGE_TOKEN)

    def add_done_callback(self, then: Callable[[_Rpc], None]) -> None:
        """As of a Future: `then` runs when the call is over."""
        if self._over:
            then(self)
        else:
            self._then = then

    def _end(self) -> None:
        """The call is over: answered, or its caller has left."""
        self._over = True
        ticket, then = self._ticket, self._then
        if ticket is not None and not ticket.done and ticket.call is not None:
            ticket.call.gone = True
        if then is not None:
            then(self)

    def _receive(self, event: Any) -> Any:
        """Take the message, on the thread that polls; returns what grpcio wants to know."""
        body, state = inside._serialized_request(event), self._state
        with state.condition:
            if body is None:
                if state.client is inside._OPEN:
                    state.client = inside._CLOSED
                inside._abort(state, self._event.call, cygrpc.StatusCode.unimplemented, NO_MESSAGE)
            ended = inside._possibly_finish_call(state, inside._RECEIVE_MESSAGE_TOKEN)
        if body is not None:
            try:
                self._enter(body, self._context, self._make)
            except Exception as error:  # noqa: BLE001  (the guard: this call only)
                self._send(*refusal(as_error(error), "", self._new_id()))
        return ended

    def _make(self, asked: Asked, request: Message, size: int, metadata: Metadata, deadline_ns: int) -> Ticket:
        self._ticket = ticket = _Answered(asked, request, size, metadata, deadline_ns)
        ticket.rpc = self
        return ticket

    def answer(self, ticket: Ticket) -> None:
        """Send what is on the ticket, on the loop."""
        self._ticket = None
        try:
            if ticket.status == 200:
                self._context.set_trailing_metadata((("x-request-id", ticket.request_id), *metadata_of(ticket.head)))
                inside._status(self._event, self._state, ticket.body)
            else:
                self._send(ticket.status, ticket.head, ticket.body)
        except Exception:
            LOG.exception("the answer of request %s could not be sent", ticket.request_id)

    def _send(self, status: int, head: bytes, details: bytes) -> None:
        """Refuse."""
        context = self._context
        context.set_trailing_metadata(metadata_of(head))
        context.set_code(OF_NUMBER[status])
        context.set_details(details.decode("utf-8", "replace"))
        inside._status(self._event, self._state, None)


class _Answered(Ticket):
    """Answers its call itself."""

    __slots__ = ("rpc",)

    rpc: _Rpc

    def deliver(self) -> None:
        self.rpc.answer(self)
