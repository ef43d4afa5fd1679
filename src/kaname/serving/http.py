"""HTTP/1.1 on a socket: uvicorn's protocol class with a short way for requests that predict.

`Connection` recognises the URLs that predict when a request's head is complete and hands the whole request to
their endpoint, without a task, a scope or a queue; all other requests go to the ASGI application as in uvicorn.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, ClassVar

import httptools
from uvicorn.config import Config
from uvicorn.server import ServerState

from kaname.errors import InvalidInput, KanameError
from kaname.serving.asgi import too_large
from kaname.serving.exchange import Endpoint, Fields, Head
from kaname.serving.heads import END
from kaname.serving.large import LARGE, read_body
from kaname.serving.ordered import BODY, HEAD, IDLE, MOST_SLOTS, OrderedConnection
from kaname.serving.slots import FULL, Slot

if TYPE_CHECKING:
    from kaname.serving.gate import Gate

LOG = logging.getLogger("kaname.http")
LINGER_NS = 2_000_000_000
MS = 1_000_000


def connection_class(gate: Gate) -> type[Connection]:
    """The protocol class for `uvicorn.Config(http=…)` of a worker with this gate."""
    return type("GateConnection", (Connection,), {"gate": gate})


class Connection(OrderedConnection):
    """Reads one client's requests, within limits of size and time."""

    remembers: ClassVar[bool] = True
    """Whether equal heads are equal requests, whatever connection they come over."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._message = 0
        self._fresh: bytes | None = None
        self._chunk = 0
        self._head_bytes = 0
        self._quiet_bytes = 0
        self._body: bytes | bytearray = b""
        self._fields: Fields = {}
        self._head = Head(b"", {})
        self._endpoint: Endpoint | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self.gate.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gate.connections.discard(self)
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]  # True keeps the transport open, as asyncio defines
        """A client that closes its sending side may still read: the answers it is owed are sent first."""
        unfinished = self._phase != IDLE and not self._deaf
        self._deaf = True
        if self._lingering:
            return False
        if unfinished:
            self._phase = IDLE
            slot = self.slots[-1] if self.slots else None
            if slot is not None and not slot.started and (slot is self._slot or slot.cycle is self.cycle is not None):
                self.slots.pop()
                self._slot = None
                self.gate.free(slot.size)
            elif slot is not None and slot.cycle is self.cycle is not None:
                return False  # the application is waiting for the rest of the body: it sees a disconnect
        if not self.slots:
            return False
        self._close_after(self.slots[-1])
        return self.transport.can_write_eof()  # a connection with TLS ends both ways at once

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        gate = self.gate
        if self._phase == IDLE:
            end = data.find(END) + len(END)
            known = gate.heads.find(data[:end])
            if known is not None:
                endpoint, head, length, owed = known
                held = gate.held_bytes + length
                missing = end + length - len(data)
                if (not missing or missing >= LARGE) and held <= gate.inflight_bytes and not gate.switching:
                    gate.held_bytes = held  # a request whose head was seen before is not parsed again
                    self._since_ns = gate.now_ns
                    slot = Slot(self, length, owed)
                    slots = self.slots
                    slots.append(slot)
                    if missing:
                        self._await_large(endpoint, head, slot, memoryview(data)[end:])
                        return
                    if len(slots) >= MOST_SLOTS:
                        self.control.hold(FULL)
                    endpoint.enter(head, data[end:], slot)
                    return
        self._parse(data)

    def _parse(self, data: bytes) -> None:
        self._chunk = len(data)
        before = self._message
        self._fresh = data if self._phase == IDLE and self.remembers else None
        self._quiet_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._deaf = True
            if self.slots:
                self._close_after(self.slots[-1])
            else:
                self.transport.close()
        except httptools.HttpParserError as error:
            self._malformed(error)
        self._fresh = None
        if self._phase == HEAD and not self._deaf:
            if self._message == before:  # the chunk in which a head begins may hold other requests before it
                self._head_bytes += len(data)
            if self._head_bytes > self.gate.settings.max_header_bytes:
                self._refuse_bytes(431, "the request's head is larger than this server accepts")
        elif self._phase == BODY and not self._deaf and self._too_many_trailers():
            if self._endpoint is None:
                self.transport.close()  # the application has the head already: it sees a disconnect
            else:
                self._refuse_bytes(431, "the request has more trailers than this server accepts")

    def _await_large(self, endpoint: Endpoint, head: Head, slot: Slot, begun: memoryview) -> None:
        """Read a large body to its place, past the parser, which never hears of the request."""
        self._phase = BODY
        self._endpoint, self._slot, self._length = endpoint, slot, slot.size
        self.url, self.headers = head.target, list(head.fields.items())
        read_body(self, self.transport, begun, slot.size, lambda body: self._enter_large(head, body))

    def _enter_large(self, head: Head, body: memoryview) -> None:
        endpoint, slot = self._endpoint, self._slot
        assert endpoint is not None
        assert slot is not None
        self._phase = IDLE
        self._endpoint = self._slot = None
        if len(self.slots) >= MOST_SLOTS:
            self.control.hold(FULL)
        endpoint.enter(head, body, slot)

    @property
    def deaf(self) -> bool:
        """Whether what comes is thrown away."""
        return self._deaf

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._phase = HEAD
        self._since_ns = self.gate.now_ns
        self._length = 0
        self._head_bytes = 0
        self._quiet_bytes = 0
        self._message += 1

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self._deaf:
            return
        self._phase = BODY
        settings = self.gate.settings
        headers = self.headers
        if len(headers) > settings.max_headers or self._head_too_large():
            self._refuse_bytes(431, "the request's head is larger than this server accepts")
            return
        self._fields = fields = dict(headers)
        self._length = length = int(fields.get(b"content-length", 0))
        if b"expect" in fields:
            self.expect_100_continue = fields[b"expect"].lower() == b"100-continue"
        gate = self.gate
        endpoint = gate.find(self.url) if self.parser.get_method() == b"POST" else None
        if endpoint is None:
            self._endpoint = None
            try:
                self._begin_asgi()
            except httptools.HttpParserInvalidURLError:
                self._refuse_bytes(400, "not an HTTP request: invalid target")
            return
        self._endpoint = endpoint
        self._body = b""
        slot = self._slot = Slot(self, 0, gate.owed(fields))
        self.slots.append(slot)
        if len(fields) == len(headers) and b"host" in fields:
            refused = gate.may_enter(fields)
        else:
            refused = gate.refusal(headers, fields, self.parser.get_http_version())
        if refused is not None:
            self._refuse(slot, *refused)
        elif length > settings.max_body_bytes:
            self._refuse(slot, 413, too_large(settings.max_body_bytes))
        else:
            if gate.held_bytes + length <= gate.inflight_bytes:
                slot.size = length
                gate.held_bytes += length
            else:
                self._reserve(slot, length)
            if self.expect_100_continue:
                slot.wants_continue = True
                self._continue_head()
            self._keep_head(endpoint, slot)

    def _keep_head(self, endpoint: Endpoint, slot: Slot) -> None:
        """Remember the head of the first request in a chunk that began with it."""
        fresh, self._fresh = self._fresh, None
        self._head = head = Head(self.url, self._fields)
        if fresh is not None and endpoint.lasting and self.parser.should_keep_alive():
            self.gate.heads.keep(fresh, endpoint, head, self._length, slot.owed)

    def on_body(self, body: bytes) -> None:
        if self._deaf:
            return
        self._quiet_bytes = 0
        if self._endpoint is None:
            if not self.cycle.response_complete:
                super().on_body(body)
            return
        if not self._body:
            self._body = body
        else:
            if type(self._body) is bytes:
                self._body = bytearray(self._body)
            self._body += body
        slot = self._slot
        if slot is not None and len(self._body) > slot.size:
            most = self.gate.settings.max_body_bytes
            if len(self._body) > most:
                self._refuse(slot, 413, too_large(most))
                return
            self.gate.held_bytes += len(self._body) - slot.size
            slot.size = len(self._body)

    def on_message_complete(self) -> None:
        if self._deaf:
            return
        self._phase = IDLE
        endpoint = self._endpoint
        if endpoint is None:
            if not self.cycle.response_complete:
                super().on_message_complete()
            return
        slot = self._slot
        assert slot is not None
        self._endpoint = None
        self._slot = None
        slot.wants_continue = False
        if not self.parser.should_keep_alive() or (
            b"connection" in self._fields and self.parser.get_http_version() == "1.0"
        ):
            slot.close = self._deaf = True  # what is sent behind it would never be answered
        if len(self.slots) >= MOST_SLOTS:
            self.control.hold(FULL)
        endpoint.enter(self._head, bytes(self._body), slot)

    def _refuse(self, slot: Slot, status: int, error: KanameError) -> None:
        """Answer before the whole request has been read; the connection cannot be used again."""
        slot.close = True
        self._deaf = True
        self._body = b""
        endpoint = self._endpoint or self.gate.fallback
        endpoint.refuse(status, error, Head(self.url or b"/", dict(self.headers or ())), slot)

    def _refuse_bytes(self, status: int, message: str) -> None:
        """Answer bytes that are no request we accept, in their turn."""
        slot = self._slot
        if slot is None or slot.data is not None:
            slot = Slot(self)
            self.slots.append(slot)
        self._refuse(slot, status, InvalidInput(message))

    def _malformed(self, error: httptools.HttpParserError) -> None:
        if isinstance(error, httptools.HttpParserCallbackError):
            LOG.error("a fault while reading a request", exc_info=error.__context__)
            self.transport.abort()  # what became of the request is unknown: no answer is the honest one
            return
        if self._phase == BODY and self._endpoint is None and not self.cycle.response_complete:
            self.transport.close()  # the application has the head already: it sees a disconnect
            return
        self._phase = HEAD
        self._refuse_bytes(400, f"not an HTTP request: {error}")

    def _too_many_trailers(self) -> bool:
        """Trailers, an unfinished one included, are what comes behind a body without adding to it."""
        settings = self.gate.settings
        return len(self.headers) > settings.max_headers or self._quiet_bytes > settings.max_header_bytes

    def _head_too_large(self) -> bool:
        """The bytes received bound the head's; only when they are too many is it measured."""
        most = self.gate.settings.max_header_bytes
        if self._head_bytes + self._chunk <= most:
            return False
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > most

    def sweep(self, now_ns: int) -> None:
        """Close or refuse what has been waiting for too long."""
        self._renew_lines()
        self._forgive()
        settings = self.gate.settings
        waited_ns = now_ns - self._since_ns
        if self._lingering:
            if waited_ns > LINGER_NS:
                self.transport.abort()
        elif self._write_paused_ns and now_ns - self._write_paused_ns > settings.body_timeout_ms * MS:
            self.transport.abort()
        elif self._phase != IDLE and (self._deaf or self.control.read_paused):
            self._since_ns = now_ns  # refused already, or this server that does not read: not the client's fault
        elif self._phase == HEAD:
            if waited_ns > settings.header_timeout_ms * MS:
                self._refuse_bytes(408, "the request's head did not arrive in time")
        elif self._phase == BODY:
            if waited_ns > settings.body_timeout_ms * MS:
                self._late_body()
        elif not self.slots and waited_ns > settings.keep_alive_ms * MS:
            self.transport.close()

    def _late_body(self) -> None:
        if self._endpoint is None:
            if "long_body" in self.scope["state"] and not self.cycle.response_complete:
                return  # a stream of predictions, which watches the time itself
            self.transport.close()
        else:
            self._refuse_bytes(408, "the request's body did not arrive in time")
