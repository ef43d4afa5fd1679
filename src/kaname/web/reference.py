"""`/openapi.json`, and `/docs`: a page that shows it, made of local files only. `/` leads there."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_FILES = {
    "/docs": ("reference.html", "text/html; charset=utf-8"),
    "/docs/reference.css": ("reference.css", "text/css; charset=utf-8"),
    "/docs/reference.js": ("reference.js", "text/javascript; charset=utf-8"),
}
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
"""The browser itself enforces that the page asks nobody else."""


def routes(document: Callable[[], dict[str, Any]]) -> list[Route]:
    """Public routes of the page, its files and the document, which is made at the first request."""
    made: list[bytes] = []

    async def openapi(_: Request) -> Response:
        if not made:
            made.append(msgspec.json.encode(document()))
        return Response(made[0], media_type="application/json")

    async def to_the_page(_: Request) -> Response:
        return Response(status_code=307, headers={"location": "docs"})

    folder = files("kaname.web") / "static"
    pages = [
        Route(path, _static((folder / name).read_bytes(), media_type)) for path, (name, media_type) in _FILES.items()
    ]
    return [Route("/", to_the_page), Route("/openapi.json", openapi), *pages]


def _static(content: bytes, media_type: str) -> Callable[[Request], Any]:
    async def serve(_: Request) -> Response:
        return Response(content, media_type=media_type, headers=_HEADERS)

    return serve
