"""A server of worker processes that a test starts, loads, kills and stops."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
import pytest

from kaname.serving.workers.board import Board, board_path
from kaname.serving.workers.lock import holder
from kaname.serving.workers.types import ServeOptions
from tests.processes import Started, until

FACTORY = "tests.serving.workers.echo:build"
ROOT = Path(__file__).parents[3]


class Answered(msgspec.Struct):
    """What the echo application says."""

    pid: int
    slot: int
    body: str


class Served(Started):
    """A supervisor in a process of its own, with the echo application."""

    def __init__(
        self,
        project: Path,
        *,
        workers: int = 1,
        drain_s: float = 10.0,
        program: str | None = None,
        stdin: int | None = None,
    ) -> None:
        options = ServeOptions(project=project, port=0, workers=workers, factory=FACTORY, drain_s=drain_s)
        self.err = project / "stderr"
        errors = self.err.open("wb")
        super().__init__(project, errors)
        run = ["-m", "tests.serving.workers.run_supervisor"] if program is None else ["-c", program]
        self.process = subprocess.Popen(
            [sys.executable, *run, msgspec.json.encode(options, enc_hook=str).decode()],
            cwd=ROOT,
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.PIPE,
            stderr=errors,
        )

    def wait_ready(self) -> None:
        """Wait for the printed address."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline().decode()
        assert "http://" in line, self.log()
        self.port = int(line.rsplit(":", 1)[1])
        self.board = Board(board_path(self.project))

    def log(self) -> str:
        return self.err.read_text()

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def ask(self, path: str = "/", body: str = "") -> Answered:
        """One request on a fresh connection."""
        connection = self.connect()
        try:
            return ask(connection, path, body)
        finally:
            connection.close()

    def __enter__(self) -> Self:
        self.wait_ready()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop()


def ask(connection: http.client.HTTPConnection, path: str = "/", body: str = "") -> Answered:
    """One request on this connection."""
    connection.request("POST", path, body)
    with connection.getresponse() as response:
        assert response.status == 200
        return msgspec.json.decode(response.read(), type=Answered)


class Load:
    """Threads that ask without a pause, half of them on kept connections, half on fresh ones.

    A request whose connection was refused, or closed before any byte of an answer, is tried again: that is what a
    client may do. Anything else is lost.
    """

    def __init__(self, served: Served, threads: int = 4) -> None:
        self._served = served
        self._over = threading.Event()
        self._down = threading.Event()
        self.answered = 0
        self.retried = 0
        self.lost: list[Exception] = []
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._work, args=(i % 2 == 0, i)) for i in range(threads)]

    def _work(self, keep: bool, number: int) -> None:
        connection = self._served.connect()
        sent = 0
        while not self._over.is_set():
            path = "/slow?ms=30" if sent % 10 == 9 else "/"
            body = f"{number}-{sent}"
            try:
                found = ask(connection, path, body)
            except ConnectionRefusedError:
                connection.close()
                if self._down.is_set():
                    return
                with self._lock:
                    self.lost.append(ConnectionRefusedError(body))
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                connection.close()
                with self._lock:
                    self.retried += 1
            except Exception as error:  # noqa: BLE001
                connection.close()
                with self._lock:
                    self.lost.append(error)
            else:
                sent += 1
                with self._lock:
                    self.answered += 1
                    if found.body != body:
                        self.lost.append(ValueError(f"{found.body} for {body}"))
                if not keep:
                    connection.close()
        connection.close()

    def expect_down(self) -> None:
        """From now on a refused connection means that the server has gone, as it was told."""
        self._down.set()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        until(lambda: self.answered > 100, "the load runs")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(40)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Start a server on a fresh project; whatever is left at the end of the test is killed."""
    started: list[Served] = []

    def start(
        *, workers: int = 1, drain_s: float = 10.0, program: str | None = None, stdin: int | None = None
    ) -> Served:
        started.append(Served(tmp_path, workers=workers, drain_s=drain_s, program=program, stdin=stdin))
        return started[-1]

    yield start
    for one in started:
        one.close()
    until(lambda: holder(tmp_path) is None, "the lock is free")


def alive(pid: int) -> bool:
    """Whether the process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
