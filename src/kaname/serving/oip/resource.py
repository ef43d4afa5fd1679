"""Resources of protocols whose errors are `{"error": "…"}`: the Open Inference Protocol and those before it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from kaname.errors import InvalidInput, KanameError
from kaname.ids import IdSource
from kaname.serving.oip.codec import refusal
from kaname.web.problems import internal

LOG = logging.getLogger("kaname.oip")


class Answered(NamedTuple):
    """Status and JSON of an answer; `content` of None: no body."""

    status: int
    content: Any


Nothing = Callable[[Request], KanameError]
Handle = Callable[[Request], Awaitable[Answered]]


class Resource:
    """All methods of one path, as an ASGI application; every error is `{"error": "…"}`.

    `nothing` words the refusal of a path that has no methods at all; `elsewhere` is a method that is answered before
    requests come here.
    """

    def __init__(self, handlers: dict[str, Handle], ids: IdSource, nothing: Nothing, *, elsewhere: str = "") -> None:
        self._handlers = handlers
        self._allowed = ", ".join(sorted([*handlers, *([elsewhere] if elsewhere else [])]))
        self._ids = ids
        self._nothing = nothing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        request_id = self._ids()
        try:
            response = await self._answer(request, request_id)
        except ClientDisconnect:
            return
        except KanameError as error:
            response = _refused(error, request_id)
        except Exception as error:
            LOG.exception("%s %s failed; request %s", request.method, request.url.path, request_id)
            response = _refused(internal(error), request_id)
        await response(scope, receive, send)

    async def _answer(self, request: Request, request_id: str) -> Response:
        handle = self._handlers.get("GET" if request.method == "HEAD" else request.method)
        if handle is not None:
            status, content = await handle(request)
            body = b"" if content is None else msgspec.json.encode(content)
            return Response(body, status, {"x-request-id": request_id}, "application/json")
        if not self._allowed:
            raise self._nothing(request)
        error = InvalidInput("no such method here", where="method", found=request.method, expected=self._allowed)
        response = _refused(error, request_id, 405)
        response.headers["allow"] = self._allowed
        return response


def _refused(error: KanameError, request_id: str, status: int | None = None) -> Response:
    status, head, body = refusal(error, request_id, status)
    pairs = [line.split(b": ", 1) for line in head.split(b"\r\n") if line]
    return Response(body, status, {name.decode(): value.decode("latin-1") for name, value in pairs})
