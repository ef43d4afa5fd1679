"""The HTTP side of a worker process: it accepts from sockets that the supervisor holds, and leaves without losing one.

uvicorn brings the protocol classes and the date header; accepting and draining are done here, because a worker that
leaves must take what the kernel has already accepted for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Mapping
from typing import Any

import structlog
import uvicorn

from kaname.serving.workers.types import Worker

LAME_DUCK_S = 0.5
"""How long open connections may send one more request, whose answer says `connection: close`, before idle ones are
closed: a client that is about to send does not find its connection gone."""
POLL_S = 0.01
SHUTDOWN_S = 2.0
"""How long a client may take to agree to the end of an encrypted connection."""

log = structlog.get_logger(__name__)


class HttpServer:
    """Accepts connections for one worker from the listening sockets it is told to.

    `sockets` are all sockets of the run by number: a worker may be told to accept from a neighbour's while that one
    has no worker.
    """

    def __init__(self, worker: Worker, sockets: Mapping[int, socket.socket], backlog: int) -> None:
        self._worker = worker
        self._sockets = dict(sockets)
        self._backlog = backlog
        self._tls = worker.tls
        self._config = uvicorn.Config(
            worker.app,
            http=worker.http_protocol,
            interface="asgi3",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            backlog=backlog,
            server_header=False,
            proxy_headers=False,
            headers=worker.headers,
        )
        self._config.load()
        self._server = uvicorn.Server(self._config)
        self._state = self._server.server_state
        self._accepting: dict[int, asyncio.Server] = {}

    async def accept_from(self, wanted: set[int]) -> None:
        """Accept from exactly these sockets. Connections that wait in one no longer wanted stay in it."""
        for number in wanted - self._accepting.keys():
            self._accepting[number] = await self._accept(number)
        for number in self._accepting.keys() - wanted:
            self._accepting.pop(number).close()

    async def _accept(self, number: int) -> asyncio.Server:
        own = self._sockets[number].dup()  # the loop closes what it is given; the original stays
        loop = asyncio.get_running_loop()
        return await loop.create_server(self._protocol, sock=own, backlog=self._backlog, **self._secured())

    def _secured(self) -> dict[str, Any]:
        """How the loop is told to encrypt."""
        tls = self._tls
        if tls is None:
            return {}
        return {
            "ssl": tls.context,
            "ssl_handshake_timeout": tls.handshake_s,
            "ssl_shutdown_timeout": SHUTDOWN_S,
        }

    async def renew(self) -> None:
        """Use a new certificate from the next connection on; open ones keep theirs, and none that waits is lost."""
        if self._tls is None or not self._tls.renew():
            return
        for number, before in list(self._accepting.items()):
            self._accepting[number] = await self._accept(number)
            before.close()

    def listening(self, number: int) -> bool:
        """Whether the kernel queues connections at this socket: some worker has accepted from it before."""
        return bool(self._sockets[number].getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))

    async def tick(self) -> None:
        """Renew the date header; once a second is enough."""
        await self._server.on_tick(0)

    async def leave(self, timeout_s: float) -> None:
        """Take what waits in the accept queues, answer what is asked, close what is idle; give up after `timeout_s`."""
        until = time.monotonic() + timeout_s
        close = (b"connection", b"close")
        self._config.encoded_headers.append(close)
        self._state.default_headers.append(close)  # in place: requests in progress hold this very list
        await self.accept_from(set())
        await self._accept_waiting()
        draining = asyncio.create_task(self._worker.drain(timeout_s))
        await self._until_closed(min(until, time.monotonic() + LAME_DUCK_S))
        for connection in list(self._state.connections):
            connection.shutdown()
        await self._until_closed(until)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                await draining
        self._give_up()

    async def _accept_waiting(self) -> None:
        """Accept every connection whose handshake the kernel has done, from all sockets, then let go of them.

        Whoever is the last to let go of a socket thus leaves nobody in its queue.
        """
        loop = asyncio.get_running_loop()
        accepted: list[socket.socket] = []
        for listener in self._sockets.values():
            accepted += _accept_all(listener)
            listener.close()
        self._sockets.clear()
        beginning = [loop.create_task(self._begin(one)) for one in accepted]
        if beginning:
            await asyncio.wait(beginning, timeout=LAME_DUCK_S)

    async def _begin(self, accepted: socket.socket) -> None:
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, accepted, **self._secured())

    async def _until_closed(self, until: float) -> None:
        while (self._state.connections or self._state.tasks) and time.monotonic() < until:
            await asyncio.sleep(POLL_S)

    def _give_up(self) -> None:
        left = list(self._state.connections)
        if left:
            log.warning("requests were still in progress at the end of the drain time", connections=len(left))
        for task in list(self._state.tasks):
            task.cancel()
        for connection in left:
            transport = getattr(connection, "transport", None)
            if transport is not None:
                transport.abort()

    def _protocol(self) -> Any:
        return self._worker.http_protocol(config=self._config, server_state=self._state, app_state={})


def _accept_all(listener: socket.socket) -> list[socket.socket]:
    listener.setblocking(False)
    accepted: list[socket.socket] = []
    while listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            break
        except OSError:  # this one connection is already gone, or no descriptor is free
            break
        connection.setblocking(False)
        accepted.append(connection)
    return accepted
