"""The process that owns writing: it commits, for itself and for the others, who come through a socket in the folder."""

from __future__ import annotations

import contextlib
import socket
import threading
from functools import partial

import msgspec

from kaname.clock import Clock
from kaname.errors import InvalidInput, KanameError
from kaname.storage.cells.lmdb.change import Answered, Asked, asked_of, frame, read_message
from kaname.storage.cells.lmdb.commit import Committer
from kaname.storage.cells.lmdb.folder import Folder, late
from kaname.storage.mapped.environment import Environment

BACKLOG = 128
REST_S = 0.1


class Owner:
    """Made by whoever holds the folder's lock; the lock is given up only after `close`."""

    def __init__(self, folder: Folder, env: Environment, clock: Clock, limit_bytes: int) -> None:
        self._door = folder.listen(BACKLOG)
        self._clock = clock
        self._folder = folder
        self._committer = Committer(env, clock, limit_bytes)
        self._connections: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._acceptor = threading.Thread(target=self._accept, name="cells-door", daemon=True)
        self._acceptor.start()

    def commit(self, asked: Asked) -> None:
        """Make a change of this process; returns when it is durable, raises what came of it, or DeadlineExceeded."""
        done = threading.Event()
        outcome: list[KanameError | None] = []

        def answer(error: KanameError | None) -> None:
            outcome.append(error)
            done.set()

        self._committer.submit(asked, answer)
        if not done.wait((asked.deadline_ns - self._clock.monotonic_ns()) / 1e9) and not outcome:
            raise late("this process")
        if outcome[0] is not None:
            raise outcome[0]

    def close(self) -> None:
        """Commit what has been received and answer it; who comes later finds nobody here."""
        self._closing.set()
        self._folder.unlink()
        with contextlib.suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self._door.close()
        with self._lock:
            connections, threads = list(self._connections), list(self._threads)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RD)
        for thread in threads:
            thread.join()
        self._committer.close()
        for connection in connections:
            connection.close()

    # --- threads ------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._door.accept()
            except OSError:  # no file number left, or the end
                self._closing.wait(REST_S)
                continue
            thread = threading.Thread(target=self._serve, args=(connection,), name="cells-peer", daemon=True)
            with self._lock:
                self._connections.add(connection)
                self._threads.add(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        """Queue what a peer asks, in its order, until it goes."""
        with contextlib.suppress(OSError), connection.makefile("rb") as stream:
            while True:
                self._receive(read_message(stream), connection)
        if not self._closing.is_set():  # at the end there may be answers to come
            with self._lock:
                self._threads.discard(threading.current_thread())
                self._connections.discard(connection)
            connection.close()

    def _receive(self, body: bytes, connection: socket.socket) -> None:
        try:
            asked = asked_of(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            _reply(connection, InvalidInput("not a request to the owner of a cell store", found=str(error)))
        else:
            self._committer.submit(asked, partial(_reply, connection))


def _reply(connection: socket.socket, outcome: KanameError | None) -> None:
    """Answer a peer, if it listens; nobody waits here for one that does not."""
    message = frame(Answered.of(outcome))
    with contextlib.suppress(OSError):
        if connection.send(message, socket.MSG_DONTWAIT) < len(message):
            connection.shutdown(socket.SHUT_RDWR)
