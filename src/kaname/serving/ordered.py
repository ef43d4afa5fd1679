"""A connection whose answers keep the order of its requests, whoever answers them.

One queue of slots for requests that predict and requests of the ASGI application: only the slot at the head is written
or started. What is read meanwhile is bounded by number and, over all connections of a worker, by bytes.
"""

from __future__ import annotations

import asyncio
import urllib.parse
from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from kaname.serving.slots import APP, FULL, GREEDY, SLOW_READER, STARVED, ReadControl, Slot

if TYPE_CHECKING:
    from kaname.serving.gate import Gate

MOST_SLOTS = 32

IDLE, HEAD, BODY = 0, 1, 2
"""What is being received: nothing, a request's head, its body."""


class OrderedConnection(HttpToolsProtocol):
    """uvicorn's connection with a queue of slots. The members of uvicorn's that it relies on are in `RELIES_ON`."""

    gate: ClassVar[Gate]

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.slots: deque[Slot] = deque()
        self._phase = IDLE
        self._since_ns = self.gate.now_ns
        self._slot: Slot | None = None
        self._length = 0
        self._deaf = False
        self._lingering = False
        self._write_paused_ns = 0
        self._refusals = 0
        self.default_lines = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self.flow = self.control = ReadControl(transport)
        self._since_ns = self.gate.now_ns
        self._renew_lines()

    def connection_lost(self, exc: Exception | None) -> None:
        self._abandon()
        super().connection_lost(exc)

    def _abandon(self) -> None:
        """Give up what has not been answered: its room is given back, its calls are marked gone."""
        slots = list(self.slots)
        self.slots.clear()
        self._slot = None
        for slot in slots:
            if slot.call is not None:
                slot.call.gone = True
            if slot.cycle is not None:
                slot.cycle.disconnected = True
                slot.cycle.message_event.set()
            self.gate.free(slot.size)
            slot.size = 0

    def _close_after(self, slot: Slot) -> None:
        slot.close = True
        if slot.cycle is not None:
            slot.cycle.keep_alive = False

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_paused_ns = self.gate.now_ns
        self.control.hold(SLOW_READER)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._write_paused_ns = 0
        self.control.let_go(SLOW_READER)

    def _begin_asgi(self) -> None:
        """As uvicorn does it, but that a cycle starts only when it is at the head of the slots.

        Raises httptools' HttpParserInvalidURLError.
        """
        version = self.parser.get_http_version()
        parsed = httptools.parse_url(self.url)
        raw_path = parsed.path or b"/"
        path = raw_path.decode("latin-1")
        self.scope = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme or "http",
            "method": self.parser.get_method().decode("ascii"),
            "path": urllib.parse.unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": parsed.query or b"",
            "root_path": self.root_path,
            "headers": self.headers,
            "state": self.app_state.copy(),
        }
        slot = Slot(self)
        keep_alive = version != "1.0" and self.parser.should_keep_alive() and not self.gate.closing
        slot.cycle = self.cycle = RequestResponseCycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=keep_alive,
            on_response=self.on_response_complete,
        )
        self.slots.append(slot)
        if len(self.slots) >= MOST_SLOTS:
            self.control.hold(FULL)
        if self.slots[0] is slot:
            self._start(slot)

    def _start(self, slot: Slot) -> None:
        assert slot.cycle is not None
        slot.started = True
        self._start_asgi_task(slot.cycle, self.app)

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.slots and self.slots[0].cycle is not None:
            slot = self.slots.popleft()
            self.gate.free(slot.size)
        if not self.transport.is_closing():
            self.control.let_go(APP)  # an application that answers without reading the body leaves it held
            self.advance()

    def _renew_lines(self) -> None:
        """The header lines that every answer starts with: uvicorn renews the date each second."""
        pairs = self.server_state.default_headers
        self.default_lines = b"".join([b"%b: %b\r\n" % pair for pair in pairs if pair[0] != b"connection"])

    def advance(self) -> None:
        """Write the answer at the head of the slots, and those behind it that wait."""
        slots, gate = self.slots, self.gate
        while slots:
            slot = slots[0]
            if slot.cycle is not None:
                if not slot.started:
                    self._start(slot)
                break
            if slot.data is None:
                break
            slots.popleft()
            gate.held_bytes -= slot.size
            if gate.starved:
                gate.free(0)
            self.transport.write(slot.data)
            if slot.close:
                self._finish()
                return
        if self.control.reasons and len(slots) < MOST_SLOTS:
            self.control.let_go(FULL)
        if slots:
            self._continue_head()
        else:
            self._since_ns = gate.now_ns

    def refused(self) -> None:
        """A request was refused for overload. Who goes on asking in spite of it is not read until the next sweep: then
        its requests cost nothing."""
        self._refusals += 1
        if self._refusals > self.gate.refusals:
            self.control.hold(GREEDY)

    def _forgive(self) -> None:
        """A new sweep: a greedy connection is read again."""
        if self._refusals:
            self._refusals = 0
            self.control.let_go(GREEDY)

    def _continue_head(self) -> None:
        slot = self.slots[0]
        if slot.wants_continue:
            slot.wants_continue = False
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _finish(self) -> None:
        """Close after the last answer. Unread request bytes are drained first: closing on them would send a reset
        that can overtake the answer."""
        unread = self._phase != IDLE
        self._deaf = True
        self._abandon()
        if not unread or not self.transport.can_write_eof():  # the end of TLS is agreed on, and reads meanwhile
            self.transport.close()
            return
        self._lingering = True
        self._since_ns = self.gate.now_ns
        self.transport.write_eof()

    def _reserve(self, slot: Slot, size: int) -> None:
        """Take room for a body. Without room the connection is not read until others have been answered; a body
        that was let in can always finish, so that waiting connections never wait for each other."""
        gate = self.gate
        if gate.held_bytes and gate.held_bytes + size > gate.inflight_bytes:
            self.control.hold(STARVED)
            gate.starve(self)
            return
        slot.size = size
        gate.held_bytes += size

    def wanted_bytes(self) -> int:
        """The room this connection waits for; 0 when it no longer waits."""
        return self._length if self._slot is not None and not self._slot.size else 0

    def resume(self) -> None:
        """There is room for the body that waited."""
        if self._slot is not None and not self._slot.size:
            self._slot.size = self._length
            self.gate.held_bytes += self._length
        if not self.transport.is_closing():
            self.control.let_go(STARVED)

    @property
    def busy(self) -> bool:
        """Whether a request is being received or has not been answered."""
        return self._phase != IDLE or bool(self.slots)

    def shutdown(self) -> None:
        """Close when idle, else after the answers in progress."""
        if not self.busy:
            self.transport.close()
        elif self.slots:
            self._close_after(self.slots[-1])
            for slot in self.slots:
                if slot.cycle is not None:
                    slot.cycle.keep_alive = False

    def _unset_keepalive_if_required(self) -> None:
        """The sweep keeps idle time; there is no timer per connection."""


RELIES_ON = (
    "_start_asgi_task",
    "_unset_keepalive_if_required",
    "app",
    "app_state",
    "access_log",
    "access_logger",
    "asgi_version",
    "client",
    "connections",
    "cycle",
    "expect_100_continue",
    "flow",
    "headers",
    "logger",
    "parser",
    "root_path",
    "scheme",
    "scope",
    "server",
    "server_state",
    "transport",
    "url",
)
"""Members of uvicorn's class used here; a test names each that a new release would lack."""
