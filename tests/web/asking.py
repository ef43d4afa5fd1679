"""Ask an ASGI application without a socket, from ordinary test functions."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from starlette.types import ASGIApp


class Asker:
    """Sends one request at a time; each has its own event loop, as each has its own connection."""

    def __init__(self, app: ASGIApp, key: str | None = None) -> None:
        self._app = app
        self._key = key

    def __call__(self, method: str, path: str, **options: Any) -> httpx.Response:
        """The answer to one request; `headers`, `json`, `content`, `params` as httpx has them."""

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=self._app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                headers = dict(options.pop("headers", {}))
                if self._key is not None:
                    headers.setdefault("authorization", f"Bearer {self._key}")
                return await client.request(method, path, headers=headers, **options)

        return asyncio.run(send())

    def as_(self, key: str | None) -> Asker:
        """The same application asked with another key."""
        return Asker(self._app, key)
