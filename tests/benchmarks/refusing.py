"""A server that refuses every second request."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def every_second() -> AsyncIterator[int]:
    """Its port, while it runs."""
    count = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        with contextlib.closing(writer), contextlib.suppress(ConnectionError):
            while await reader.readline():
                await reader.readline()
                count += 1
                status = b"200 OK" if count % 2 else b"503 Service Unavailable"
                writer.write(b"HTTP/1.1 %b\r\ncontent-length: 0\r\n\r\n" % status)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
