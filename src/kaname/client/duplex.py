"""A TLS connection that one thread reads while another writes.

OpenSSL takes one call at a time for a connection, and a blocking read would hold it until the next byte comes. So every
call is made under a lock and never waits; threads wait for the socket outside of it.
"""

from __future__ import annotations

import io
import select
import ssl
import threading
from typing import Any


class Duplex(io.RawIOBase):
    """What `http.client` asks of a socket, over a connected TLS socket, whose timeout bounds each wait.

    Raises TimeoutError where a wait is longer, OSError as the socket does.
    """

    def __init__(self, socket: ssl.SSLSocket) -> None:
        timeout_s = socket.gettimeout()
        self._timeout_ms = None if timeout_s is None else timeout_s * 1000
        self._socket = socket
        self._lock = threading.Lock()
        socket.setblocking(False)

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        while True:
            with self._lock:
                try:
                    return self._socket.recv_into(into)
                except ssl.SSLWantReadError:
                    event = select.POLLIN
                except ssl.SSLWantWriteError:
                    event = select.POLLOUT
            self._wait(event)

    def sendall(self, data: bytes) -> None:
        """Send all of it."""
        rest = memoryview(data)
        while rest:
            with self._lock:
                try:
                    rest = rest[self._socket.send(rest) :]
                    continue
                except ssl.SSLWantReadError:
                    event = select.POLLIN
                except ssl.SSLWantWriteError:
                    event = select.POLLOUT
            self._wait(event)

    def makefile(self, _mode: str) -> io.BufferedReader:
        """What is received."""
        return io.BufferedReader(self)

    def shutdown(self, how: int) -> None:
        """End both ways; whoever waits is woken."""
        with self._lock:
            self._socket.shutdown(how)

    def close(self) -> None:
        with self._lock:
            self._socket.close()
        super().close()

    def _wait(self, event: int) -> None:
        waiting = select.poll()
        try:
            waiting.register(self._socket, event)
        except ValueError:
            raise OSError("the connection has been closed") from None
        if not waiting.poll(self._timeout_ms):
            raise TimeoutError("timed out")
