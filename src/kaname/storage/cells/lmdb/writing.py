"""How a process has changes made: by whoever owns writing, which it becomes itself where nobody does."""

from __future__ import annotations

import socket
import threading
import time
from typing import IO, NamedTuple

from kaname.clock import Clock
from kaname.errors import Unavailable
from kaname.storage.cells.lmdb.change import Asked, Change, answered_of, frame, read_message
from kaname.storage.cells.lmdb.folder import Folder, late, peer_of
from kaname.storage.cells.lmdb.owner import Owner
from kaname.storage.mapped.environment import Environment

REST_S = 0.01
"""Between two looks for an owner, when one has died and the next is about to take over."""


class _Line(NamedTuple):
    """A connection to the owner, with one request on it at a time."""

    connection: socket.socket
    stream: IO[bytes]

    def close(self) -> None:
        self.stream.close()
        self.connection.close()


class Writing:
    """Safe to use from several threads. Changes are idempotent: one whose owner dies is sent to the next owner."""

    def __init__(self, folder: Folder, env: Environment, clock: Clock, limit_bytes: int, timeout_s: float) -> None:
        self._folder = folder
        self._env = env
        self._clock = clock
        self._limit_bytes = limit_bytes
        self._timeout_ns = int(timeout_s * 1e9)
        self._owner: Owner | None = None
        self._lock = threading.Lock()
        self._idle: list[_Line] = []

    def make(self, change: Change) -> None:
        """Have a change made; returns when it is durable. Raises what the owner says, Unavailable, DeadlineExceeded."""
        asked = Asked(self._clock.monotonic_ns() + self._timeout_ns, change)
        message: bytes | None = None
        while self._owner is None:
            message = message or frame(asked)
            try:
                self._ask(message, asked.deadline_ns)
            except OSError:
                self._let_go()
                if not self._own():
                    self._left_s(asked.deadline_ns)
                    time.sleep(REST_S)
            else:
                return
        self._owner.commit(asked)

    def _ask(self, message: bytes, deadline_ns: int) -> None:
        """Ask the owner. Raises OSError when there is none, or it goes before it has answered."""
        line = self._line(deadline_ns)
        try:
            line.connection.settimeout(self._left_s(deadline_ns))
            line.connection.sendall(message)
            answer = answered_of(read_message(line.stream))
        except TimeoutError:
            owner = peer_of(line.connection)
            line.close()
            raise late(owner) from None
        except BaseException:
            line.close()
            raise
        self._idle.append(line)
        answer.check()

    def _line(self, deadline_ns: int) -> _Line:
        try:
            return self._idle.pop()
        except IndexError:
            connection = self._folder.connect(self._left_s(deadline_ns))
            return _Line(connection, connection.makefile("rb"))

    def _left_s(self, deadline_ns: int) -> float:
        """Seconds until a deadline. Raises DeadlineExceeded."""
        left_ns = deadline_ns - self._clock.monotonic_ns()
        if left_ns <= 0:
            raise late("no process that answers")
        return left_ns / 1e9

    def _own(self) -> bool:
        """Whether this process owns writing now. Raises Unavailable when it could, but cannot."""
        with self._lock:
            if self._owner is None and self._folder.owning.held():
                try:
                    self._owner = Owner(self._folder, self._env, self._clock, self._limit_bytes)
                except OSError as error:
                    self._folder.owning.release()
                    raise Unavailable(
                        "this process cannot own the cell store", where=str(self._folder.path), found=str(error)
                    ) from error
            return self._owner is not None

    def _let_go(self) -> None:
        """Close the connections to an owner that has gone."""
        while self._idle:
            self._idle.pop().close()

    def close(self) -> None:
        """Let go of the owner, and of owning."""
        self._let_go()
        with self._lock:
            if self._owner is not None:
                self._owner.close()
