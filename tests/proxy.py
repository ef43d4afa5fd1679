"""A TCP proxy on loopback that makes the network between two programs worse."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self


class Proxy:
    """Hands on what comes to `port`; faults are set at any time and hold for all connections from then on."""

    def __init__(self, target: int) -> None:
        self._target = target
        self.latency_s = 0.0
        """Every piece of an answer comes this much later."""
        self.cut_after: int | None = None
        """Bytes of an answer after which its connection is reset, once."""
        self.cuts = 0
        self.answered = 0
        """Bytes of answers so far."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._on_loop(asyncio.start_server(self._connected, "127.0.0.1", 0))
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._on_loop(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _on_loop(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            theirs, ours = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        try:
            await asyncio.gather(self._hand_on(reader, ours), self._answer(theirs, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            ours.transport.abort()

    async def _hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
        writer.write_eof()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answered = 0
        while piece := await reader.read(65536):
            await asyncio.sleep(self.latency_s)
            answered += len(piece)
            self.answered += len(piece)
            if self.cut_after is not None and answered > self.cut_after:
                self.cut_after, self.cuts = None, self.cuts + 1
                raise ConnectionResetError
            writer.write(piece)
            await writer.drain()
        writer.write_eof()
