"""The protocol's resources beside infer: health, metadata, configuration, statistics, repository."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from kaname import __version__
from kaname.call import Principal
from kaname.errors import Forbidden, InvalidInput, KanameError, NotFound
from kaname.ids import IdSource
from kaname.serving.json_input import explain
from kaname.serving.oip import describe
from kaname.serving.oip.codec import refusal
from kaname.serving.oip.messages import IndexRequest, RepositoryRequest
from kaname.serving.oip.types import EXTENSIONS, Authorize, Catalog, Scope
from kaname.web import bodies
from kaname.web.problems import internal

LOG = logging.getLogger("kaname.oip")
MOST_BYTES = 1024 * 1024
ABSENT = ("systemsharedmemory", "cudasharedmemory", "trace", "logging")
"""First words of the paths of extensions that this server does not have."""
T = TypeVar("T")


class Answered(NamedTuple):
    """Status and JSON of an answer; `content` of None: no body."""

    status: int
    content: Any


Handle = Callable[[Request], Awaitable[Answered]]


def authorizer(principal_of: Callable[[bytes | None], Principal]) -> Authorize:
    """Scopes by API key. To read about a model it is enough to be allowed to predict with it."""

    def authorize(request: Request, scope: Scope) -> Principal:
        header = request.headers.get("authorization")
        principal = principal_of(None if header is None else header.encode("latin-1"))
        if scope in principal.scopes:
            return principal
        model = request.path_params.get("model")
        may_predict = principal.may_predict
        if scope == "read" and model is not None and (may_predict is None or model in may_predict):
            return principal
        found = ", ".join(sorted(principal.scopes)) or "no such scope"
        raise Forbidden("the API key lacks a scope", where="Authorization", found=found, expected=scope)

    return authorize


def routes(
    catalog: Catalog, authorize: Authorize, *, ids: IdSource, is_ready: Callable[[], bool], max_rows: int
) -> list[BaseRoute]:
    """Everything under `/v2`. Infer is answered by its own door before it comes here: what does come is refused.

    `is_ready` is that of the server; `max_rows` bounds one request, for the configuration.
    """
    return [
        *_server(is_ready, ids),
        *_repository(catalog, authorize, ids),
        *_models(catalog, authorize, ids, max_rows),
        Route("/v2/{path:path}", _Resource({}, ids)),
    ]


def _server(is_ready: Callable[[], bool], ids: IdSource) -> list[Route]:
    async def server(_: Request) -> Answered:
        return Answered(200, {"name": "kaname", "version": __version__, "extensions": EXTENSIONS})

    async def live(_: Request) -> Answered:
        return Answered(200, {"live": True})

    async def ready(_: Request) -> Answered:
        found = is_ready()
        return Answered(200 if found else 503, {"live": True, "ready": found})

    return [
        Route("/v2", _Resource({"GET": server}, ids)),
        Route("/v2/health/live", _Resource({"GET": live}, ids)),
        Route("/v2/health/ready", _Resource({"GET": ready}, ids)),
    ]


def _models(catalog: Catalog, authorize: Authorize, ids: IdSource, max_rows: int) -> list[Route]:
    async def about(request: Request) -> Answered:
        authorize(request, "read")
        model, version = _named(request)
        return Answered(200, describe.metadata(catalog.version(model, version), catalog.entry(model)))

    async def config(request: Request) -> Answered:
        authorize(request, "read")
        model, version = _named(request)
        return Answered(200, describe.configuration(catalog.version(model, version), catalog.entry(model), max_rows))

    async def ready(request: Request) -> Answered:
        authorize(request, "read")
        model, version = _named(request)
        found = catalog.is_ready(model, version)
        return Answered(200 if found else 503, {"name": catalog.entry(model).info.name, "ready": found})

    async def stats(request: Request) -> Answered:
        authorize(request, "read")
        model, version = _named(request)
        versions = catalog.entry(model).versions if version is None else (catalog.version(model, version),)
        return await _statistics(catalog, versions)

    async def all_stats(request: Request) -> Answered:
        authorize(request, "read")
        return await _statistics(catalog, [version for entry in catalog.models() for version in entry.versions])

    found = [Route("/v2/models/stats", _Resource({"GET": all_stats}, ids))]
    for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        found += [
            Route(path, _Resource({"GET": about}, ids)),
            Route(f"{path}/ready", _Resource({"GET": ready}, ids)),
            Route(f"{path}/config", _Resource({"GET": config}, ids)),
            Route(f"{path}/stats", _Resource({"GET": stats}, ids)),
            Route(f"{path}/infer", _Resource({}, ids, elsewhere="POST")),
        ]
    return found


async def _statistics(catalog: Catalog, versions: Sequence[Any]) -> Answered:
    return Answered(200, {"model_stats": await run_in_threadpool(catalog.statistics, versions)})


def _named(request: Request) -> tuple[str, str | None]:
    return request.path_params["model"], request.path_params.get("version")


def _repository(catalog: Catalog, authorize: Authorize, ids: IdSource) -> list[Route]:
    async def index(request: Request) -> Answered:
        authorize(request, "read")
        asked = await _body(request, IndexRequest)
        return Answered(200, describe.index(catalog, ready_only=asked.ready))

    async def load(request: Request) -> Answered:
        who = authorize(request, "write").name
        asked = await _body(request, RepositoryRequest)
        for name in asked.parameters:
            if name == "config" or name.startswith("file:"):
                raise InvalidInput(
                    "versions here are immutable: add one instead",
                    where=f"parameters.{name}",
                    expected="POST /api/v1/models/{model}/versions",
                )
        await run_in_threadpool(catalog.load, request.path_params["model"], who)
        return Answered(200, None)

    async def unload(request: Request) -> Answered:
        who = authorize(request, "write").name
        await _body(request, RepositoryRequest)
        await run_in_threadpool(catalog.unload, request.path_params["model"], who)
        return Answered(200, None)

    return [
        Route("/v2/repository/index", _Resource({"POST": index}, ids)),
        Route("/v2/repository/models/{model}/load", _Resource({"POST": load}, ids)),
        Route("/v2/repository/models/{model}/unload", _Resource({"POST": unload}, ids)),
    ]


async def _body(request: Request, kind: type[T]) -> T:
    """The body as `kind`; an empty one has all defaults."""
    raw = await bodies.read(request, MOST_BYTES)
    try:
        return msgspec.json.decode(raw or b"{}", type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise explain(error) from None


class _Resource:
    """All methods of one path, as an ASGI application; every error in the protocol's form."""

    def __init__(self, handlers: dict[str, Handle], ids: IdSource, *, elsewhere: str = "") -> None:
        self._handlers = handlers
        self._allowed = ", ".join(sorted([*handlers, *([elsewhere] if elsewhere else [])]))
        self._ids = ids

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
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
            raise _nothing(request)
        error = InvalidInput("no such method here", where="method", found=request.method, expected=self._allowed)
        response = _refused(error, request_id, 405)
        response.headers["allow"] = self._allowed
        return response


def _nothing(request: Request) -> NotFound:
    path = request.url.path
    if any(word in path.split("/") for word in ABSENT):
        return NotFound("this server does not have that extension", where=path, expected=", ".join(EXTENSIONS))
    return NotFound("no such resource", where="path", found=path, expected="a path of the Open Inference Protocol v2")


def _refused(error: KanameError, request_id: str, status: int | None = None) -> Response:
    status, head, body = refusal(error, request_id, status)
    pairs = [line.split(b": ", 1) for line in head.split(b"\r\n") if line]
    return Response(body, status, {name.decode(): value.decode("latin-1") for name, value in pairs})
