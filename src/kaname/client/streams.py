"""Lines both ways over one request: a thread sends what is asked while the caller reads what is answered."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping

from kaname.client.duplex import Duplex
from kaname.client.exchanged import Broken, Reply


class LineStream:
    """One request over a connection of its own, which is closed with the iterator of its answers; the thread that sends
    then ends with its next line."""

    def __init__(self, connection: http.client.HTTPConnection, path: str, headers: Mapping[str, str]) -> None:
        self._connection = connection
        self._path = path
        self._headers = headers
        self._socket: socket.socket | Duplex | None = None
        self._failed: BaseException | None = None

    def answers(self, lines: Iterable[bytes]) -> Generator[bytes | Reply, None, None]:
        """A line for each of `lines`, in order; a Reply alone when the whole request was refused.

        What `lines` raises is raised here, and Broken when the connection fails.
        """
        try:
            self._begin()
            threading.Thread(target=self._send, args=(iter(lines),), name="kaname-lines", daemon=True).start()
            response = self._connection.getresponse()
            if response.status != 200:
                yield Reply(status=response.status, body=response.read())
                return
            while line := response.readline():
                yield line
            self._raise_failed()
        except (OSError, http.client.HTTPException) as error:
            self._raise_failed()
            if isinstance(error, TimeoutError):
                raise
            raise Broken(str(error) or type(error).__name__, before_answer=False) from error
        finally:
            self._shut()
            self._connection.close()

    def _begin(self) -> None:
        self._connection.connect()
        if isinstance(self._connection.sock, ssl.SSLSocket):
            self._connection.sock = Duplex(self._connection.sock)
        self._connection.putrequest("POST", self._path)
        for name, value in self._headers.items():
            self._connection.putheader(name, value)
        self._connection.putheader("content-type", "application/x-ndjson")
        self._connection.putheader("transfer-encoding", "chunked")
        self._connection.endheaders()
        self._socket = self._connection.sock  # the connection itself would open another one once this is closed

    def _send(self, lines: Iterator[bytes]) -> None:
        try:
            for line in lines:
                if not self._sent(b"%x\r\n%b\n\r\n" % (len(line) + 1, line)):
                    return
            self._sent(b"0\r\n\r\n")
        except BaseException as error:  # noqa: BLE001  (raised again where the answers are read)
            self._failed = error
            self._shut()

    def _sent(self, data: bytes) -> bool:
        """False when the connection has failed; the reader sees why."""
        assert self._socket is not None
        try:
            self._socket.sendall(data)
        except OSError:
            return False
        return True

    def _shut(self) -> None:
        """Wake whoever waits for the connection."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _raise_failed(self) -> None:
        if self._failed is not None:
            raise self._failed
