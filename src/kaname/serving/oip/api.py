"""The protocol's resources beside infer: health, metadata, configuration, statistics, repository."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.routing import BaseRoute, Route

from kaname import __version__
from kaname.call import Principal
from kaname.errors import Forbidden, InvalidInput, NotFound
from kaname.ids import IdSource
from kaname.serving.json_input import explain
from kaname.serving.oip import describe
from kaname.serving.oip.messages import IndexRequest, RepositoryRequest
from kaname.serving.oip.resource import Answered, Handle, Resource
from kaname.serving.oip.types import EXTENSIONS, Authorize, Catalog, Scope
from kaname.web import bodies

MOST_BYTES = 1024 * 1024
AT_ONCE = 250
"""Models of the index that are listed before requests have their turn: half a millisecond's work."""
ABSENT = ("systemsharedmemory", "cudasharedmemory", "trace", "logging")
"""First words of the paths of extensions that this server does not have."""
T = TypeVar("T")


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
        Route("/v2/{path:path}", _resource({}, ids)),
    ]


def _resource(handlers: dict[str, Handle], ids: IdSource, *, elsewhere: str = "") -> Resource:
    return Resource(handlers, ids, _nothing, elsewhere=elsewhere)


def _server(is_ready: Callable[[], bool], ids: IdSource) -> list[Route]:
    async def server(_: Request) -> Answered:
        return Answered(200, {"name": "kaname", "version": __version__, "extensions": EXTENSIONS})

    async def live(_: Request) -> Answered:
        return Answered(200, {"live": True})

    async def ready(_: Request) -> Answered:
        found = is_ready()
        return Answered(200 if found else 503, {"live": True, "ready": found})

    return [
        Route("/v2", _resource({"GET": server}, ids)),
        Route("/v2/health/live", _resource({"GET": live}, ids)),
        Route("/v2/health/ready", _resource({"GET": ready}, ids)),
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
        reason = catalog.unready(model, version)
        about = {"reason": reason} if reason else {}
        return Answered(503 if reason else 200, {"name": catalog.entry(model).info.name, "ready": not reason, **about})

    async def stats(request: Request) -> Answered:
        authorize(request, "read")
        model, version = _named(request)
        versions = catalog.entry(model).versions if version is None else (catalog.version(model, version),)
        return await _statistics(catalog, versions)

    async def all_stats(request: Request) -> Answered:
        authorize(request, "read")
        return await _statistics(catalog, [version for entry in catalog.models() for version in entry.versions])

    found = [Route("/v2/models/stats", _resource({"GET": all_stats}, ids))]
    for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        found += [
            Route(path, _resource({"GET": about}, ids)),
            Route(f"{path}/ready", _resource({"GET": ready}, ids)),
            Route(f"{path}/config", _resource({"GET": config}, ids)),
            Route(f"{path}/stats", _resource({"GET": stats}, ids)),
            Route(f"{path}/infer", _resource({}, ids, elsewhere="POST")),
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
        models, listed = catalog.models(), list[dict[str, str]]()
        for start in range(0, len(models), AT_ONCE):
            listed += describe.index(catalog, models[start : start + AT_ONCE], ready_only=asked.ready)
            await asyncio.sleep(0)
        return Answered(200, listed)

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
        Route("/v2/repository/index", _resource({"POST": index}, ids)),
        Route("/v2/repository/models/{model}/load", _resource({"POST": load}, ids)),
        Route("/v2/repository/models/{model}/unload", _resource({"POST": unload}, ids)),
    ]


async def _body(request: Request, kind: type[T]) -> T:
    """The body as `kind`; an empty one has all defaults."""
    raw = await bodies.read(request, MOST_BYTES)
    try:
        return msgspec.json.decode(raw or b"{}", type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise explain(error) from None


def _nothing(request: Request) -> NotFound:
    path = request.url.path
    if any(word in path.split("/") for word in ABSENT):
        return NotFound("this server does not have that extension", where=path, expected=", ".join(EXTENSIONS))
    return NotFound("no such resource", where="path", found=path, expected="a path of the Open Inference Protocol v2")
