"""The order of a connection's answers: one slot per request, answered in the order the requests came."""

from __future__ import annotations

import http
from typing import TYPE_CHECKING

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from kaname.call import Call

if TYPE_CHECKING:
    from kaname.serving.ordered import OrderedConnection

STATUS_LINES = {s.value: b"HTTP/1.1 %d %b\r\n" % (s.value, s.phrase.encode()) for s in http.HTTPStatus}


class Slot:
    """The place of one request in its connection's order; the `Reply` of a request that predicts.

    `owed` are header lines that its answer carries whatever it says.

    `data` is the whole answer once there is one. A slot with a `cycle` belongs to the ASGI application, which
    writes for itself and is started only when the slot is at the head.
    """

    __slots__ = ("call", "close", "connection", "cycle", "data", "owed", "size", "started", "wants_continue")

    def __init__(self, connection: OrderedConnection, size: int = 0, owed: bytes = b"") -> None:
        self.connection = connection
        self.call: Call | None = None
        self.data: bytes | None = None
        self.close = False
        self.size = size
        self.owed = owed
        self.cycle: RequestResponseCycle | None = None
        self.started = False
        self.wants_continue = False

    def send(self, status: int, head: bytes, body: bytes) -> None:
        """Answer; a second answer is dropped."""
        if self.data is not None:
            return
        if status == 503:
            self.connection.refused()
        self.call = None  # the call knows its reply: without this, every request would leave a cycle to collect
        connection = self.connection
        slots = connection.slots
        if self.close or (connection.gate.closing and slots and slots[-1] is self):
            self.close = True
            head += b"connection: close\r\n"
        self.data = b"%b%b%b%bcontent-length: %d\r\n\r\n%b" % (
            STATUS_LINES[status],
            connection.default_lines,
            head,
            self.owed,
            len(body),
            body,
        )
        if slots and slots[0] is self:
            connection.advance()


FULL, STARVED, APP, SLOW_READER, GREEDY = 1, 2, 4, 8, 16
"""Why a connection is not read: too many open slots, no room for bytes, the application's wish, unread answers, too
many refusals that it does not heed."""


class ReadControl(FlowControl):
    """Pauses reading while any reason holds. The application's own wishes are one of the reasons."""

    def __init__(self, transport: object) -> None:
        super().__init__(transport)  # type: ignore[arg-type]  # uvicorn names the narrower asyncio.Transport
        self.reasons = 0

    def hold(self, reason: int) -> None:
        """Do not read while `reason` holds."""
        self.reasons |= reason
        super().pause_reading()

    def let_go(self, reason: int) -> None:
        """`reason` no longer holds."""
        if self.reasons & reason:
            self.reasons &= ~reason
            if not self.reasons:
                super().resume_reading()

    def pause_reading(self) -> None:
        self.hold(APP)

    def resume_reading(self) -> None:
        self.let_go(APP)
