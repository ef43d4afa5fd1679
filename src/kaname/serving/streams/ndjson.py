"""`POST /api/v1/models/{model}[/versions/{v}]/predict/stream`: a request per line, an answer or a problem per line.

Each line goes through the endpoint that answers its model's predictions, as a request of its own: limits, batching,
record and metrics are the same. Answers keep the order of the lines. At most `stream_lines` lines, and
`stream_line_bytes` bytes, are in progress; while the client does not read its answers, nothing more of it is read.
"""

from __future__ import annotations

import asyncio
from collections import deque

from starlette.types import Message, Receive, Scope, Send

from kaname.errors import InvalidInput, KanameError, TooLarge, Unavailable, UnsupportedMedia
from kaname.ids import IdSource
from kaname.serving.asgi import AsgiReply
from kaname.serving.endpoint import LONGEST_ID, request_id
from kaname.serving.exchange import Fields, Head
from kaname.serving.gate import Gate
from kaname.serving.json_codec import refusal
from kaname.serving.streams.beginning import StreamGuard, answer, predict_target, start
from kaname.serving.streams.lines import Lines

MEDIA_TYPES = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines")
PASSED_ON = (b"authorization", b"x-request-timeout-ms", b"traceparent", b"tracestate")
LOOK_S = 0.25
LONG_BODY = "long_body"
"""Set in the state of a request whose body takes as long as it takes: its handler watches the time."""


class LineStreams:
    """The ASGI application of the two URLs. `guard` says what speaks against a whole stream."""

    def __init__(self, gate: Gate, guard: StreamGuard, ids: IdSource) -> None:
        self._gate = gate
        self._guard = guard
        self._ids = ids

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fields: Fields = dict(scope["headers"])
        target = predict_target(scope, b"/stream")
        name = request_id(fields, self._ids)
        if len(name) > LONGEST_ID - 12:
            name = self._ids()  # each line's id is this one and the line's number
        refused = await self._guard.refusal(scope, target, name, _check_headers)
        if refused is not None:
            await answer(send, scope, refused)
            return
        scope.setdefault("state", {})[LONG_BODY] = True
        await _Exchange(self._gate, scope, target, name, receive, send).run()


def _check_headers(fields: Fields) -> None:
    kind = fields.get(b"content-type", MEDIA_TYPES[0].encode()).partition(b";")[0].strip().lower().decode("latin-1")
    if kind not in MEDIA_TYPES:
        raise UnsupportedMedia("content type", where="content-type", found=kind, expected=MEDIA_TYPES[0])
    encoding = fields.get(b"content-encoding", b"identity").strip().lower().decode("latin-1")
    if encoding != "identity":
        raise UnsupportedMedia("content encoding", where="content-encoding", found=encoding, expected="none")


class _Line:
    """One line in progress."""

    __slots__ = ("reply", "size")

    def __init__(self, reply: AsgiReply, size: int) -> None:
        self.reply = reply
        self.size = size


class _Exchange:
    """One request: a task that reads and enters lines, one that writes their answers."""

    def __init__(self, gate: Gate, scope: Scope, target: bytes, name: str, receive: Receive, send: Send) -> None:
        self._gate = gate
        self._scope = scope
        fields: Fields = dict(scope["headers"])
        self._fields = {key: fields[key] for key in PASSED_ON if key in fields}
        self._expects = b"expect" in fields
        self._target = target
        self._name = name
        self._receive = receive
        self._send = send
        self._splitter = Lines(gate.settings.stream_line_bytes)
        self._waiting: deque[_Line] = deque()
        self._held = 0
        self._number = 0
        self._over = False
        self._new = asyncio.Event()
        self._room = asyncio.Event()
        self._heard_ns = gate.clock.monotonic_ns()

    async def run(self) -> None:
        """Return when everything has been answered, or the client has left."""
        first = await self._receive() if self._expects else None  # the server then says 100 Continue
        head = b"content-type: application/x-ndjson\r\nx-request-id: %b\r\ncache-control: no-store\r\n"
        await start(self._send, self._scope, 200, head % self._name.encode())
        reading = asyncio.ensure_future(self._read(first))
        writing = asyncio.ensure_future(self._write())
        try:
            while not (writing.done() or reading.done()):
                await asyncio.wait({reading, writing}, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
                self._look(reading)
            if writing.done() or reading.cancelled():
                await writing
            else:
                reading.result()  # the client has left, if nothing worse
        finally:
            reading.cancel()
            writing.cancel()
            for line in self._waiting:
                if line.reply.call is not None:
                    line.reply.call.gone = True

    def _look(self, reading: asyncio.Future[None]) -> None:
        """End a stream that would otherwise outlast the server, or its client's silence."""
        if self._over:
            return
        silent_ns = self._gate.clock.monotonic_ns() - self._heard_ns
        error: KanameError | None = None
        status = None
        if self._gate.closing:
            error = Unavailable("the server is leaving: send the lines that have no answer to another", retry_after_s=1)
        elif not self._waiting and silent_ns > self._gate.settings.body_timeout_ms * 1_000_000:
            error, status = InvalidInput("no line arrived in time", where="body"), 408
        if error is not None:
            reading.cancel()
            self._fail(error, status)
            self._end()

    # --- lines come ---------------------------------------------------------------------------------------

    async def _read(self, first: Message | None) -> None:
        """Enter every line; after the last one, wait for the client to leave."""
        message = first or await self._receive()
        while message["type"] != "http.disconnect":
            self._heard_ns = self._gate.clock.monotonic_ns()
            for line in self._splitter.feed(message.get("body", b"")):
                await self._take(line)
            if not message.get("more_body", False) and not self._over:
                for line in self._splitter.end():
                    await self._take(line)
                self._end()
            message = await self._receive()
        self._over = True

    async def _take(self, line: bytes | None) -> None:
        size = 0 if line is None else len(line)
        settings = self._gate.settings
        while self._waiting and (
            len(self._waiting) >= settings.stream_lines or self._held + size > settings.stream_line_bytes
        ):
            self._room.clear()
            await self._room.wait()
        self._number += 1
        if line is None:
            most = f"at most {settings.stream_line_bytes} bytes"
            self._fail(TooLarge("the line is too long", where=f"line {self._number}", expected=most))
            return
        reply = AsgiReply()
        self._add(_Line(reply, size))
        self._enter(line, reply)

    def _enter(self, line: bytes, reply: AsgiReply) -> None:
        """Asked anew for each line: which version answers, and what the key may do, can change meanwhile."""
        head = Head(self._target, self._fields | {b"x-request-id": self._id().encode()})
        endpoint = self._gate.find(self._target) or self._gate.fallback
        endpoint.enter(head, line, reply)

    def _fail(self, error: KanameError, status: int | None = None) -> None:
        reply = AsgiReply()
        reply.send(*refusal(error, self._target.decode("latin-1"), self._id(), status))
        self._add(_Line(reply, 0))

    def _id(self) -> str:
        return f"{self._name}-{self._number}"

    def _add(self, line: _Line) -> None:
        self._waiting.append(line)
        self._held += line.size
        self._new.set()

    def _end(self) -> None:
        self._over = True
        self._new.set()

    # --- answers go ---------------------------------------------------------------------------------------

    async def _write(self) -> None:
        """Send the answers in order, those that are there together."""
        waiting = self._waiting
        while waiting or not self._over:
            if not waiting:
                self._new.clear()
                await self._new.wait()
                continue
            await waiting[0].reply.answered
            ready = []
            for line in waiting:
                if not line.reply.answered.done():
                    break
                ready.append(line.reply.answered.result()[2])
            await self._send({"type": "http.response.body", "body": b"\n".join([*ready, b""]), "more_body": True})
            for _ in ready:
                self._held -= waiting.popleft().size
            self._room.set()
        await self._send({"type": "http.response.body", "body": b""})
