"""`POST /api/v1/models/{model}[/versions/{v}]/predict/events`: answers of models that yield, as server-sent events.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html. A piece is an event without a name whose data
is an answer like that of `predict`; `end` follows the last piece, `error` with a problem document ends a stream that
failed.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from kaname.call import Answer, Call
from kaname.clock import Clock
from kaname.errors import KanameError
from kaname.ids import IdSource
from kaname.inference.streams import AHEAD
from kaname.models.types import VersionInfo
from kaname.serving import json_codec
from kaname.serving.endpoint import request_id
from kaname.serving.exchange import Endpoint, Fields, Head
from kaname.serving.json_output import JsonOutput
from kaname.serving.streams.beginning import Refused, StreamGuard, answer, predict_target, start
from kaname.web import bodies

HEARTBEAT_S = 15.0
HEARTBEAT = b": still there\n\n"
"""A comment, so that nothing between server and client takes a slow model for a dead connection."""
_HEAD = b"content-type: text/event-stream\r\ncache-control: no-store\r\nx-accel-buffering: no\r\nx-request-id: %b\r\n"


class EventsReply:
    """The Listener of one request: pieces and the end of the call become events."""

    def __init__(self, info: VersionInfo, clock: Clock) -> None:
        self.call: Call | None = None
        self.room = threading.Semaphore(AHEAD)
        self.refused: Refused | None = None
        """What was answered instead of a stream."""
        self.events: asyncio.Queue[bytes | None] = asyncio.Queue()
        """None behind the last."""
        self._render = JsonOutput(info.signature, info.model, info.version).render
        self._clock = clock
        self._pieces = 0
        self._ended = False

    def piece(self, call: Call, answer: Answer) -> None:
        """Queue one piece."""
        _, body = self._render(call, answer, self._clock.monotonic_ns() - call.started_ns)
        self._pieces += 1
        self.events.put_nowait(b"id: %d\ndata: %b\n\n" % (self._pieces, body))

    def send(self, status: int, head: bytes, body: bytes) -> None:
        """The end of the call: of a stream, or the refusal of one that has not begun."""
        if self._ended:
            return
        self._ended = True
        if status == 200:
            self.events.put_nowait(b"event: end\ndata: %b\n\n" % msgspec.json.encode({"pieces": self._pieces}))
        elif self._pieces:
            self.events.put_nowait(b"event: error\ndata: %b\n\n" % body)
        else:
            self.refused = status, head, body
        self.events.put_nowait(None)


class EventStreams:
    """The ASGI application of the two URLs. `endpoint_of` gives the endpoint whose calls are streamed."""

    def __init__(
        self,
        guard: StreamGuard,
        endpoint_of: Callable[[str, str, str | None], Endpoint],
        version_of: Callable[[str, str | None], VersionInfo],
        *,
        ids: IdSource,
        clock: Clock,
        max_body_bytes: int,
    ) -> None:
        self._guard = guard
        self._endpoint_of = endpoint_of
        self._version_of = version_of
        self._ids = ids
        self._clock = clock
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fields: Fields = dict(scope["headers"])
        name = request_id(fields, self._ids)
        target = predict_target(scope, b"/events")
        refused = await self._guard.refusal(scope, target, name, lambda _: None)
        if refused is not None:
            await answer(send, scope, refused)
            return
        try:
            body = await bodies.read(Request(scope, receive), self._max_body_bytes)
        except ClientDisconnect:
            return
        except KanameError as error:
            await answer(send, scope, json_codec.refusal(error, scope["path"], name))
            return
        asked = scope["path_params"]["model"], scope["path_params"].get("version")
        reply = EventsReply(self._version_of(*asked), self._clock)
        head = Head(target, fields | {b"x-request-id": name.encode()})
        self._endpoint_of(scope["path"], *asked).enter(head, body, reply)
        await _pass_on(reply, scope, receive, send, name)


async def _pass_on(reply: EventsReply, scope: Scope, receive: Receive, send: Send, name: str) -> None:
    """Write events until the last one, or until the client leaves: then nobody waits for the call any more."""
    writing = asyncio.ensure_future(_write(reply, scope, send, name))
    leaving = asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait({writing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if writing.done():
            writing.result()
    finally:
        writing.cancel()
        leaving.cancel()
        if reply.call is not None:
            reply.call.gone = True


async def _write(reply: EventsReply, scope: Scope, send: Send, name: str) -> None:
    event = await reply.events.get()
    if reply.refused is not None:
        await answer(send, scope, reply.refused)
        return
    await start(send, scope, 200, _HEAD % name.encode())
    while event is not None:
        await send({"type": "http.response.body", "body": event, "more_body": True})
        reply.room.release()
        event = await _next(reply, send)
    await send({"type": "http.response.body", "body": b""})


async def _next(reply: EventsReply, send: Send) -> bytes | None:
    """The next event; until it comes, signs of life."""
    while True:
        try:
            return await asyncio.wait_for(reply.events.get(), HEARTBEAT_S)
        except TimeoutError:
            await send({"type": "http.response.body", "body": HEARTBEAT, "more_body": True})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue
