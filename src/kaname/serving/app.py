"""The ASGI application of a worker: everything but predictions, which have a door of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from kaname import __version__
from kaname.errors import Forbidden
from kaname.ids import IdSource
from kaname.serving.asgi import PredictDoor
from kaname.serving.gate import Gate
from kaname.serving.traced import Tracing
from kaname.serving.traced_app import TracedApp
from kaname.telemetry.exposition import CONTENT_TYPE, exposed
from kaname.web import endpoints, openapi, reference
from kaname.web.endpoints import Site
from kaname.web.hosts import Guarded, HostGuard
from kaname.web.resources import Resource


def application(
    *,
    gate: Gate,
    site: Site,
    guard: HostGuard,
    resources: Iterable[Resource],
    extra: Iterable[BaseRoute],
    metrics_folder: Path,
    live_slots: Callable[[], set[int]],
    is_ready: Callable[[], bool],
    title: str,
    tracing: Tracing | None = None,
) -> ASGIApp:
    """The application: control resources, health, metrics, documentation, and the URLs that predict for servers
    other than this one's own."""
    listed = [*resources, *_DOCUMENTED]
    routes: list[BaseRoute] = [
        *_health(is_ready),
        _metrics(site, metrics_folder, live_slots),
        *reference.routes(lambda: _document(listed, title)),
        *extra,
        *endpoints.routes(listed, site),
    ]
    starlette = Starlette(routes=routes, exception_handlers=_handlers(site.ids))
    guarded = Guarded(starlette, guard, site.ids)
    return PredictDoor(gate, guarded if tracing is None else TracedApp(tracing, guarded))


def _document(resources: list[Resource], title: str) -> dict[str, Any]:
    return openapi.document(
        resources,
        title=title,
        version=__version__,
        description="Predictions, models, keys and the prediction record of one Kaname project.",
    )


_PROBE: dict[str, Any] = {
    "method": "GET", "handler": None, "scope": "public", "answer": str, "media": "text/plain", "tag": "health"
}  # fmt: skip
_DOCUMENTED = (
    Resource(path="/health/live", summary="Whether the process answers", **_PROBE),
    Resource(
        path="/health/ready",
        summary="Whether the server may be asked: a snapshot is applied and pinned models are warm; 503 otherwise",
        error=str,
        error_media="text/plain",
        **_PROBE,
    ),
    Resource(
        **{**_PROBE, "scope": "read", "media": CONTENT_TYPE},
        path="/metrics",
        summary="Metrics of all workers in the text format of Prometheus",
    ),
)  # fmt: skip


def _handlers(ids: IdSource) -> Any:
    return endpoints.exception_handlers(ids)


def _health(is_ready: Callable[[], bool]) -> list[Route]:
    async def live(_: Request) -> Response:
        return PlainTextResponse("live\n")

    async def ready(_: Request) -> Response:
        return PlainTextResponse("ready\n") if is_ready() else PlainTextResponse("not ready\n", status_code=503)

    return [Route("/health/live", live), Route("/health/ready", ready)]


def _metrics(site: Site, folder: Path, live_slots: Callable[[], set[int]]) -> Route:
    def metrics(request: Request) -> Response:
        header = request.headers.get("authorization")
        principal = site.authenticate(None if header is None else header.encode("latin-1"))
        if "read" not in principal.scopes:
            raise Forbidden("metrics need the scope read", expected="read")
        kind, text = exposed(folder, live_slots(), request.headers.get("accept", ""))
        return Response(text, headers={"content-type": kind, "vary": "accept"})

    return Route("/metrics", metrics)
