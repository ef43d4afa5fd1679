"""The other door: requests that predict, under any ASGI server.

Enters the same endpoints as `http.Connection` with the same bytes, and answers with the same bytes.
"""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from kaname.call import Call
from kaname.errors import TooLarge
from kaname.serving.exchange import Endpoint, Head
from kaname.serving.gate import Gate


class AsgiReply:
    """The `Reply` of one ASGI request."""

    def __init__(self) -> None:
        self.call: Call | None = None
        self.answered: asyncio.Future[tuple[int, bytes, bytes]] = asyncio.get_running_loop().create_future()

    def send(self, status: int, head: bytes, body: bytes) -> None:
        if not self.answered.done():
            self.answered.set_result((status, head, body))


class PredictDoor:
    """ASGI middleware: URLs that predict go to their endpoint, everything else to `app`."""

    def __init__(self, gate: Gate, app: ASGIApp) -> None:
        self._gate = gate
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._find(scope)
        if endpoint is None:
            await self._app(scope, receive, send)
            return
        reply = AsgiReply()
        head = Head(_target(scope), dict(scope["headers"]))
        refused = self._gate.refusal(scope["headers"], head.fields, scope["http_version"])
        if refused is not None:
            endpoint.refuse(*refused, head, reply)
        elif not await self._read(endpoint, head, receive, reply):
            return
        leaving = asyncio.ensure_future(_left(receive))
        try:
            waits: list[asyncio.Future[Any]] = [reply.answered, leaving]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if not reply.answered.done():
                if reply.call is not None:
                    reply.call.gone = True
                return
            await _answer(reply, self._gate.owed(head.fields), send)
        finally:
            leaving.cancel()

    def _find(self, scope: Scope) -> Endpoint | None:
        if scope["type"] != "http" or scope["method"] != "POST":
            return None
        return self._gate.find(_target(scope))

    async def _read(self, endpoint: Endpoint, head: Head, receive: Receive, reply: AsgiReply) -> bool:
        """Read the body and enter the endpoint; False when the caller left while sending."""
        most = self._gate.settings.max_body_bytes
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return False
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > most:
                endpoint.refuse(413, too_large(most), head, reply)
                return True
        endpoint.enter(head, bytes(body), reply)
        return True


def too_large(most: int) -> TooLarge:
    """The refusal of a body of more than `most` bytes."""
    return TooLarge("the body is larger than this server accepts", where="body", expected=f"at most {most} bytes")


def _target(scope: Scope) -> bytes:
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope.get("query_string", b"")
    return raw + b"?" + query if query else raw


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


async def _answer(reply: AsgiReply, owed: bytes, send: Send) -> None:
    status, head, body = reply.answered.result()
    headers = [tuple(line.split(b": ", 1)) for line in (head + owed).split(b"\r\n") if line]
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
