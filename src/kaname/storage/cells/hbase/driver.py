"""The one module that knows the driver: connections to Thrift 2 servers, what is tried again, errors."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from kaname.errors import DeadlineExceeded, KanameError, MissingDependency, NotFound, Unavailable

try:
    import thriftpy2
    from thriftpy2.protocol import TCyBinaryProtocol
    from thriftpy2.thrift import TClient, TException
    from thriftpy2.transport import TCyBufferedTransport, TSocket
except ImportError as error:
    raise MissingDependency.of("thriftpy2", "hbase", "cells in HBase") from error

idl: Any = thriftpy2.load(str(Path(__file__).with_name("hbase.thrift")), module_name="kaname_hbase_thrift")
"""HBase's structs and services, which have no types; neither have these:"""
socket: Any = TSocket
buffered: Any = TCyBufferedTransport
binary: Any = TCyBinaryProtocol

T = TypeVar("T")
R = TypeVar("R")
TRIES = 3
"""How often a call is made whose connection broke: all calls are idempotent, or say that it was done before."""
GONE = ("TableNotFoundException", "TableNotEnabledException", "NoSuchColumnFamilyException")


class Servers(msgspec.Struct, frozen=True, kw_only=True):
    """Thrift 2 servers of one HBase, any of which may be asked."""

    addresses: tuple[tuple[str, int], ...]
    timeout_s: float = 2.0
    """Longest wait for an answer, or for a connection that is free."""
    connections: int = 8
    """Most of them at once."""


class _Line:
    """A connection with a client on it."""

    def __init__(self, address: tuple[str, int], timeout_s: float) -> None:
        wait_ms = round(timeout_s * 1000)
        self._transport = buffered(socket(*address, socket_timeout=wait_ms, connect_timeout=wait_ms))
        self._transport.open()
        self.client = TClient(idl.THBaseService, binary(self._transport, decode_response=False))

    def close(self) -> None:
        self._transport.close()


class Pool:
    """Connections for all threads of a process."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._idle: deque[_Line] = deque()
        self._free = threading.BoundedSemaphore(servers.connections)
        self._turns = count()
        self._threads = ThreadPoolExecutor(servers.connections, thread_name_prefix="cells-hbase")
        self.where = ", ".join(f"{host}:{port}" for host, port in servers.addresses)

    def call(self, verb: str, *arguments: object) -> Any:
        """What a server answers. Raises NotFound, Unavailable, DeadlineExceeded."""
        if not self._free.acquire(timeout=self._servers.timeout_s):
            expected = f"one of {self._servers.connections} within {self._servers.timeout_s:g} s"
            raise DeadlineExceeded("no connection to HBase was free in time", where=self.where, expected=expected)
        try:
            return self._repeat(self._idle_line, self._idle.append, verb, arguments)
        finally:
            self._free.release()

    def patiently(self, timeout_s: float, verb: str, *arguments: object) -> Any:
        """The same of what takes its time."""
        return self._repeat(partial(self._new_line, timeout_s), _Line.close, verb, arguments)

    def each(self, work: Callable[[T], R], of: Sequence[T]) -> list[R]:
        """Do something that calls for each of these, side by side; returns what comes of it, in their order. Where one
        fails, those that have not begun are left out, and its error is raised."""
        if len(of) == 1:
            return [work(of[0])]
        failed: list[KanameError] = []

        def done(one: T) -> list[R]:
            try:
                return [] if failed else [work(one)]
            except KanameError as error:
                failed.append(error)
                return []

        found = list(self._threads.map(done, of))
        if failed:
            raise failed[0]
        return [one for some in found for one in some]

    def aside(self, work: Callable[[], None]) -> None:
        """Have something done that nobody waits for."""
        self._threads.submit(work)

    def close(self) -> None:
        """Let go of the connections."""
        self._threads.shutdown(cancel_futures=True)
        while self._idle:
            self._idle.pop().close()

    def _repeat(
        self, line_of: Callable[[], _Line], done: Callable[[_Line], None], verb: str, arguments: Sequence[object]
    ) -> Any:
        """Ask on a connection, and on another one where that breaks; `done` takes one that has answered."""
        tried = 0
        while True:
            try:
                return self._ask(line_of(), done, verb, arguments)
            except TimeoutError as error:
                raise DeadlineExceeded("HBase did not answer in time", where=self.where, found=verb) from error
            except (OSError, TException) as error:
                self._let_go()
                tried += 1
                if tried == TRIES:
                    raise Unavailable("HBase cannot be reached", where=self.where, found=str(error)) from error

    def _ask(self, line: _Line, done: Callable[[_Line], None], verb: str, arguments: Sequence[object]) -> Any:
        try:
            answer = getattr(line.client, verb)(*arguments)
        except idl.TIOError as error:
            done(line)
            raise _told(error.message, self.where) from None
        except BaseException:
            line.close()
            raise
        done(line)
        return answer

    def _idle_line(self) -> _Line:
        try:
            return self._idle.pop()
        except IndexError:
            return self._new_line(self._servers.timeout_s)

    def _new_line(self, timeout_s: float) -> _Line:
        addresses = self._servers.addresses
        return _Line(addresses[next(self._turns) % len(addresses)], timeout_s)

    def _let_go(self) -> None:
        """Close the connections that wait: they are to a server that has gone."""
        while self._idle:
            self._idle.pop().close()


def _told(message: bytes | str | None, where: str) -> KanameError:
    """An error of HBase, whose message is a Java stack trace."""
    text = message.decode(errors="replace") if isinstance(message, bytes) else message or ""
    found = text.partition("\n")[0][:300]
    if any(name in text for name in GONE):
        return NotFound("the table or family has been dropped", where=where, found=found)
    return Unavailable("HBase cannot answer", where=where, found=found)
