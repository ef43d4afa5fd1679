"""A tiny real application for worker processes: it echoes, waits, crashes and counts as a request asks it to."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from urllib.parse import parse_qs

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from kaname.errors import InvalidInput
from kaname.serving.workers.board import Board
from kaname.serving.workers.types import App, Message, Tls, Worker
from kaname.telemetry.metrics import Metrics


class Echo:
    """Answers each request with who answered; `/slow?ms=` waits first, `/die` kills the process without an answer."""

    http_protocol = HttpToolsProtocol
    tls: Tls | None = None

    def __init__(self, project: Path, slot: int, board: Board) -> None:
        self._project = project
        self.headers: list[tuple[str, str]] = []
        self._slot = slot
        self._board = board
        self.app: App = self._app

    async def start(self) -> None:
        self._metrics = Metrics(self._project / "metrics", self._slot)
        self._requests = self._metrics.counter("echo_requests_total", "Requests answered.")
        if (self._project / "refuse").exists():
            raise InvalidInput("told to refuse", where="refuse")
        for name in sorted(self._project.glob("version-*")):
            await asyncio.to_thread(self._load, int(name.name.removeprefix("version-")))
        number = self._project / "number"
        self._board.report_applied(self._slot, int(number.read_text()) if number.exists() else 1)

    def _load(self, version_id: int) -> None:
        """A version file that says `kill` kills whoever loads it."""
        if version_id in self._board.quarantined():
            return
        with self._board.loading(self._slot, version_id):
            if (self._project / f"version-{version_id}").read_text() == "kill":
                os.kill(os.getpid(), signal.SIGKILL)

    async def drain(self, timeout_s: float) -> None:
        (self._project / f"drained-{os.getpid()}").touch()

    async def stop(self) -> None:
        self._metrics.close()
        (self._project / f"stopped-{os.getpid()}").touch()

    async def _app(self, scope: Message, receive: object, send: object) -> None:
        assert callable(receive)
        assert callable(send)
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if scope["path"] == "/die":
            os.kill(os.getpid(), signal.SIGKILL)
        if scope["path"] == "/slow":
            await asyncio.sleep(int(parse_qs(scope["query_string"].decode())["ms"][0]) / 1000)
        self._requests.add()
        answer = msgspec.json.encode({"pid": os.getpid(), "slot": self._slot, "body": body.decode()})
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


def build(project: Path, slot: int, board: Board) -> Worker:
    """The factory that the supervisor is given."""
    return Echo(project, slot, board)
