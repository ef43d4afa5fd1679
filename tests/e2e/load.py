"""Clients that ask without a pause and know what became of each request."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from types import TracebackType
from typing import Self

import msgspec

from tests.e2e.server import Server
from tests.processes import until


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One answer: when its request was sent and when all of it had come (monotonic), and what it said."""

    sent: float
    done: float
    status: int
    version: str
    request_id: str


class Load:
    """Threads that ask one model: on kept connections, on fresh ones, or pipelined in tens.

    A request is lost when its answer stops half way, is an error, or never comes; when its connection was closed
    before any byte of an answer it is sent again, as HTTP allows and every client does. A fresh connection that is
    refused is a loss unless the server was told to go.
    """

    def __init__(
        self, server: Server, model: str, row: object, *, kept: int = 2, fresh: int = 1, piped: int = 0
    ) -> None:
        self._server = server
        self._address = ("127.0.0.1", server.port)
        self._path = f"/api/v1/models/{model}/predict"
        self._body = json.dumps({"features": row}).encode()
        self._key = server.admin
        self._over = threading.Event()
        self._down = threading.Event()
        self.answers: list[Answer] = []
        self.retried = 0
        self.lost: list[str] = []
        works = [self._keep] * kept + [self._refresh] * fresh + [self._pipe] * piped
        self._threads = [threading.Thread(target=self._guarded, args=(work,)) for work in works]

    # --- kinds of clients --------------------------------------------------------------------------------

    def _guarded(self, work: object) -> None:
        assert callable(work)
        while not self._over.is_set():
            try:
                work()
            except ConnectionRefusedError:
                if self._down.is_set():
                    return
                self.lost.append("refused")
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                self.retried += 1
            except Exception as error:  # noqa: BLE001  (whatever it is, it is counted)
                self.lost.append(repr(error))

    def _keep(self) -> None:
        connection = http.client.HTTPConnection(*self._address, timeout=30)
        try:
            while not self._over.is_set():
                self._ask(connection)
        finally:
            connection.close()

    def _refresh(self) -> None:
        connection = http.client.HTTPConnection(*self._address, timeout=30)
        try:
            self._ask(connection)
        finally:
            connection.close()

    def _ask(self, connection: http.client.HTTPConnection) -> None:
        sent = time.monotonic()
        connection.request(
            "POST",
            self._path,
            self._body,
            {"authorization": f"Bearer {self._key}", "content-type": "application/json"},
        )
        with connection.getresponse() as response:
            self._note(sent, response.status, response.read())

    def _pipe(self) -> None:
        """Ten requests in one piece, then their answers in order; what a closing server left out is asked again."""
        request = (
            f"POST {self._path} HTTP/1.1\r\nhost: 127.0.0.1:{self._address[1]}\r\nauthorization: Bearer {self._key}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(self._body)}\r\n\r\n"
        ).encode() + self._body
        with socket.create_connection(self._address, timeout=30) as connection, connection.makefile("rb") as answers:
            while not self._over.is_set():
                sent = time.monotonic()
                connection.sendall(request * 10)
                for _ in range(10):
                    if self._read_one(sent, answers):
                        self.retried += 1
                        return

    def _read_one(self, sent: float, answers: object) -> bool:
        """Read one pipelined answer; True when the server says that it is the last, or has closed in between."""
        read = getattr(answers, "readline")  # noqa: B009  (an io.BufferedReader)
        line = read()
        if not line:
            raise ConnectionResetError
        status, length, closing = int(line.split()[1]), -1, False
        while (head := read().strip()) != b"":
            name, _, value = head.lower().partition(b": ")
            length = int(value) if name == b"content-length" else length
            closing = closing or (name, value) == (b"connection", b"close")
        body = getattr(answers, "read")(length)  # noqa: B009
        if len(body) != length:
            raise ValueError("an answer ends half way")
        self._note(sent, status, body)
        return closing

    def _note(self, sent: float, status: int, body: bytes) -> None:
        done = time.monotonic()
        said = json.loads(body)
        if status != 200:
            self.lost.append(f"{status}: {said}")
            return
        found = Answer(sent=sent, done=done, status=status, version=said["version"], request_id=said["request_id"])
        self.answers.append(found)

    # --- what a test says --------------------------------------------------------------------------------

    def expect_down(self) -> None:
        """From now on a refused connection means that the server has gone, as it was told."""
        self._down.set()

    def more(self, count: int = 50) -> None:
        """Return when that many further answers have come."""
        wanted = len(self.answers) + count
        until(lambda: len(self.answers) >= wanted, f"{count} more answers; lost: {self.lost[:3]}", 30.0)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self.more()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(40)


def never_back(answers: list[Answer], order: list[str]) -> list[tuple[Answer, Answer]]:
    """Pairs of answers that contradict `order` (versions as promoted): a later one was fully received before a
    request was sent that an earlier one answered."""
    rank = {version: i for i, version in enumerate(order)}
    wrong = []
    newest: Answer | None = None
    finished = sorted(answers, key=lambda a: a.done)
    i = 0
    for asked in sorted(answers, key=lambda a: a.sent):
        while i < len(finished) and finished[i].done < asked.sent:
            if newest is None or rank[finished[i].version] > rank[newest.version]:
                newest = finished[i]
            i += 1
        if newest is not None and rank[asked.version] < rank[newest.version]:
            wrong.append((newest, asked))
    return wrong
