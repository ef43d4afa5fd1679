"""What the supervisor and a worker process know of each other, and of the application inside."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

Message = MutableMapping[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]
"""An ASGI 3 application."""


class Tls(Protocol):
    """The certificate of a server (`serving.certificates.Certificates`)."""

    context: ssl.SSLContext
    """For handshakes that begin now."""

    @property
    def handshake_s(self) -> float:
        """Time in which a handshake must be done."""

    def renew(self) -> bool:
        """Look at the files; True when `context` is a new one."""


class Worker(Protocol):
    """The application of one worker process.

    The process calls `start`, accepts connections, and on SIGTERM: takes what waits in the accept queue, calls `drain`
    (requests of open connections still arrive), closes idle connections, waits for the others, and calls `stop`.
    """

    http_protocol: type[Any]
    """Protocol class for `uvicorn.Config(http=…)`; its instances are in `server_state.connections` while open and
    have uvicorn's `shutdown()`: close when idle, else after the answer in progress."""
    app: App
    """The ASGI application behind `http_protocol`."""

    @property
    def tls(self) -> Tls | None:
        """What connections are encrypted with."""

    headers: list[tuple[str, str]]
    """Carried by every answer."""

    async def start(self) -> None:
        """Load and warm what must answer, and report it on the board; connections are accepted after it returns.

        A KanameError or other exception ends the process and is said in the log.
        """

    async def drain(self, timeout_s: float) -> None:
        """From now on every answer says `connection: close`; return when no request is in progress or time is over.

        Answers of the ASGI application behind uvicorn's own protocol say so anyway (by
        `server_state.default_headers`).
        """

    async def stop(self) -> None:
        """Write out what is buffered and release everything; nothing arrives any more."""


class ServeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a supervisor is started with."""

    project: Path
    """The project folder."""
    host: str = "127.0.0.1"
    scheme: str = "http"
    port: int = 8080
    """TCP port; 0 picks a free one, shared by all workers."""
    workers: int = 1
    factory: str = "kaname.platform:build_worker"
    """`module:function` that makes a Worker of (project, slot, board)."""
    drain_s: float = 30.0
    """Longest wait for requests in progress when a worker leaves."""
    start_s: float = 120.0
    """Longest wait for a replacement to become ready during a rolling restart."""
    backlog: int = 2048
    """Connections that may wait to be accepted, per worker."""


def data_folder(project: Path) -> Path:
    """Where the files that the processes of one run share are kept."""
    return project / ".kaname" / "run"
