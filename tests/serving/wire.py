"""One connection of this server's protocol class over a socket pair, with an endpoint and an application that a test
directs: what answers at once, what later, what reads its body and what does not."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any

import uvicorn
import uvloop
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from kaname.clock import ManualClock
from kaname.errors import KanameError
from kaname.serving.exchange import Body, Fields, Head, Reply
from kaname.serving.gate import Gate
from kaname.serving.http import Connection, connection_class
from kaname.settings import ServerSettings

from .world import Response

LATER, BIG = b"later", b"big"
BIG_BYTES = 300_000


class Echo:
    """Answers with the body it got: at once, or when the test says so. Counts who came."""

    lasting = True

    def __init__(self) -> None:
        self.entered: list[tuple[Head, bytes]] = []
        self.held: list[tuple[bytes, Reply]] = []
        self.calls: list[Any] = []

    def enter(self, head: Head, body: Body, reply: Reply) -> None:
        body = bytes(body)
        self.entered.append((head, body))
        call = Caller()
        reply.call = call  # type: ignore[assignment]  # all that a connection does with a call is mark it gone
        self.calls.append(call)
        if LATER in head.target:
            self.held.append((body, reply))
        else:
            answer(head, body, reply)

    def refuse(self, status: int, error: KanameError, _: Head, reply: Reply) -> None:
        reply.send(status, b"content-type: text/plain\r\n", str(error).encode())


class Caller:
    """What a connection knows of a call."""

    gone = False


def answer(head: Head, body: bytes, reply: Reply) -> None:
    if BIG in head.target:
        body += b"." * BIG_BYTES
    reply.send(200, b"content-type: text/plain\r\n", body)


class Wire:
    """The server's end under test and the client's end in the hands of the test."""

    def __init__(self, **settings: Any) -> None:
        self.loop = uvloop.new_event_loop()
        self.clock = ManualClock()
        self.echo = Echo()
        self.gate = Gate(ServerSettings(**settings), self.clock, self.may_enter, self.echo)
        self.gate.resolve = lambda target: self.echo if target.startswith(b"/fast") else None
        self.refused: tuple[int, KanameError] | None = None
        self.events: list[asyncio.Event] = []
        self.disconnects = 0
        self.config = uvicorn.Config(
            self.app, interface="asgi3", ws="none", lifespan="off", log_config=None, access_log=False
        )
        self.config.load()
        self.state = ServerState()
        self.protocol = connection_class(self.gate)
        self.ends: list[socket.socket] = []

    def may_enter(self, _: Fields) -> tuple[int, KanameError] | None:
        return self.refused

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`/asgi?…`: with `read` the answer is the request's body, else its target; `later` waits for the test."""
        query: bytes = scope["query_string"]
        body = bytes(scope["path"] + "?", "ascii") + query
        if b"read" in query:
            body = b""
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    self.disconnects += 1
                    return
                body += message.get("body", b"")
                more = message["more_body"]
        if LATER in query:
            event = asyncio.Event()
            self.events.append(event)
            await event.wait()
        head = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": body})

    def connect(self) -> Line:
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        made: list[Connection] = []

        def factory() -> Connection:
            made.append(self.protocol(config=self.config, server_state=self.state, app_state={}))
            return made[0]

        async def accept() -> None:
            await self.loop.connect_accepted_socket(factory, ours)

        self.loop.run_until_complete(accept())
        self.ends.append(theirs)
        return Line(self, theirs, made[0])

    def turn(self, times: int = 4) -> None:
        """Let the loop go round."""
        for _ in range(times):
            self.loop.run_until_complete(asyncio.sleep(0))

    def sweep(self, ms: float = 0) -> None:
        """Time passes, and the sweeper goes through the connections."""
        self.clock.advance(ms=ms)
        self.gate.now_ns = self.clock.monotonic_ns()
        for connection in list(self.gate.connections):
            connection.sweep(self.gate.now_ns)
        self.turn()

    def release(self, which: int = 0) -> None:
        """Let one answer go that waits for the test."""
        held = len(self.echo.held)
        if which < held:
            body, reply = self.echo.held.pop(which)
            reply.send(200, b"content-type: text/plain\r\n", body)
        elif self.events:
            self.events.pop((which - held) % len(self.events)).set()
        self.turn()

    @property
    def held(self) -> int:
        return len(self.echo.held) + len(self.events)

    def close(self) -> None:
        for end in self.ends:
            end.close()
        while self.held:
            self.release()
        self.turn(10)
        for connection in list(self.gate.connections):
            connection.transport.abort()  # type: ignore[attr-defined]  # a Connection
        self.until(lambda: not self.gate.connections and not self.state.tasks)
        assert self.gate.held_bytes == 0, "room was not given back"
        self.loop.close()

    def until(self, look: Callable[[], object]) -> None:
        end = time.monotonic() + 20
        while not look():
            assert time.monotonic() < end, "waited in vain"
            self.loop.run_until_complete(asyncio.sleep(0.0005))


class Line:
    """The client's end of one connection."""

    def __init__(self, wire: Wire, end: socket.socket, server: Connection) -> None:
        self.wire = wire
        self.end = end
        self.server = server
        self.read = b""
        self.eof = False
        self.interim = 0
        self.unsent = b""

    def send(self, data: bytes) -> None:
        """Send, as far as the server reads; the rest goes when `pump` is called."""
        self.unsent += data
        self.pump()

    def pump(self) -> None:
        for _ in range(1000):
            if not self.unsent:
                break
            try:
                sent = self.end.send(self.unsent)
            except (BlockingIOError, BrokenPipeError, ConnectionResetError):
                break
            self.unsent = self.unsent[sent:]
            self.wire.turn()
        self.wire.turn()

    def take(self, most: int = 1 << 20) -> None:
        """Read what has come."""
        try:
            data = self.end.recv(most)
        except BlockingIOError:
            return
        except ConnectionResetError:
            self.eof = True
            return
        self.eof = self.eof or not data
        self.read += data

    def ended(self) -> bool:
        """Whether the server has closed the connection; reads what has come."""
        self.take()
        return self.eof

    def answers(self) -> list[Response]:
        """All whole answers so far; interim ones are counted."""
        found: list[Response] = []
        for _ in range(200):
            before = len(self.read)
            self.take()
            self.wire.turn()
            while (one := Response.take(self.read)) is not None:
                response, self.read = one
                if response.status == 100:
                    self.interim += 1
                else:
                    found.append(response)
            if len(self.read) == before and not self.read:
                break
        return found

    def one(self) -> Response:
        """Exactly one answer."""
        self.wire.turn()
        (found,) = self.answers()
        return found


def fast(body: bytes = b"", note: str = "", *lines: str, version: str = "1.1") -> bytes:
    head = [f"POST /fast?{note} HTTP/{version}", "host: h", f"content-length: {len(body)}", *lines, "", ""]
    return "\r\n".join(head).encode() + body


def slow(body: bytes = b"", note: str = "", *lines: str, version: str = "1.1") -> bytes:
    """A request for the ASGI application."""
    head = [f"POST /asgi?{note} HTTP/{version}", "host: h", f"content-length: {len(body)}", *lines, "", ""]
    return "\r\n".join(head).encode() + body


def in_chunks(body: bytes, size: int, target: str) -> bytes:
    head = f"POST {target} HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    pieces = [body[i : i + size] for i in range(0, len(body), size)]
    return head + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
