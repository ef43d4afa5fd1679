"""A small HTTP/1.1 client on a kept-alive connection: one request at a time, timed from its first byte to its last.

The replay wants thousands of answers a second without taking the processor away from the server beside it, so it
reads just what the server sends: a status line, headers with a content length, a body.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: bytes
    seconds: float
    """From writing the request to having read the whole answer."""


class Connection:
    """`async with Connection(host, port, headers) as connection: await connection.post(path, body)`."""

    def __init__(self, host: str, port: int, headers: dict[str, str]) -> None:
        self._address = (host, port)
        lines = {"Host": f"{host}:{port}", "Content-Type": "application/json", **headers}
        self._head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(*self._address)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._writer.close()

    async def post(self, path: str, body: bytes) -> Reply:
        """Send `body` to `path` and wait for the answer; raises `ConnectionError` when the server hangs up."""
        request = f"POST {path} HTTP/1.1\r\n{self._head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        start = time.perf_counter()
        self._writer.write(request)
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
            answer = await self._reader.readexactly(_content_length(head))
        except asyncio.IncompleteReadError as error:
            raise ConnectionError("the server closed the connection in the middle of an answer") from error
        return Reply(int(head[9:12]), answer, time.perf_counter() - start)


def _content_length(head: bytes) -> int:
    lowered = head.lower()
    at = lowered.find(b"\r\ncontent-length:")
    if at < 0:
        raise ConnectionError(f"an answer without a content length: {head[:80]!r}")
    return int(lowered[at + 17 : lowered.index(b"\r\n", at + 17)])
