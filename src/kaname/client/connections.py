"""Kept HTTP connections to one server, safe to share between threads."""

from __future__ import annotations

import http.client
import select
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from kaname.client.exchanged import Broken, Reply
from kaname.client.streams import LineStream
from kaname.errors import InvalidInput


class Connections:
    """Opens connections to the server at `url` as they are needed and keeps up to `keep` of those that are idle.

    Raises InvalidInput for a URL that is not http:// or https://.
    """

    def __init__(self, url: str, *, keep: int, tls: ssl.SSLContext | None = None) -> None:
        """`tls`: whom to believe, and who to say one is, behind https://; None: as the system does."""
        scheme, self._host, self._port, self._base = _parsed(url)
        self.url = url
        self._tls = (tls or ssl.create_default_context()) if scheme == "https" else None
        self._keep = keep
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()

    def request(self, method: str, path: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> Reply:
        """Send one request and read its whole answer within `timeout_s`.

        Raises Broken when the connection fails and TimeoutError when the time is over.
        """
        until = time.monotonic() + timeout_s
        connection = self._take(timeout_s)
        kept = False
        try:
            response = self._begin(connection, method, path, body, headers, until)
            reply = _finish(connection, response, until)
            kept = not response.will_close
        finally:
            if kept:
                self._give(connection)
            else:
                connection.close()
        return reply

    def stream(self, path: str, headers: Mapping[str, str], timeout_s: float) -> LineStream:
        """A request of many lines over a new connection, on which no silence lasts longer than `timeout_s`."""
        connection = self._made(timeout_s)
        return LineStream(connection, self._base + path, headers)

    def close(self) -> None:
        """Close what is idle."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _begin(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        until: float,
    ) -> http.client.HTTPResponse:
        try:
            connection.request(method, self._base + path, body or None, dict(headers))
            if connection.sock is not None:
                connection.sock.settimeout(max(0.001, until - time.monotonic()))
            return connection.getresponse()
        except TimeoutError:
            raise
        except (ConnectionError, socket.gaierror, http.client.RemoteDisconnected) as error:
            raise Broken(str(error) or type(error).__name__, before_answer=True) from error
        except (OSError, http.client.HTTPException) as error:
            raise Broken(str(error) or type(error).__name__, before_answer=False) from error

    def _take(self, timeout_s: float) -> http.client.HTTPConnection:
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return self._made(timeout_s)
            if connection.sock is not None and not _readable(connection.sock):
                connection.sock.settimeout(timeout_s)
                return connection
            connection.close()  # the server closed it while it was idle

    def _made(self, timeout_s: float) -> http.client.HTTPConnection:
        if self._tls is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
        return http.client.HTTPSConnection(self._host, self._port, timeout=timeout_s, context=self._tls)

    def _give(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            if len(self._idle) < self._keep:
                self._idle.append(connection)
                return
        connection.close()


def _parsed(url: str) -> tuple[str, str, int | None, str]:
    """Scheme, host, port and path of the address of a server."""
    wrong = InvalidInput("not the address of a server", where="url", found=url, expected="http://HOST[:PORT]")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:  # half a bracket, a port beyond 65535
        raise wrong from error
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isascii():
        raise wrong
    return parts.scheme, parts.hostname, port, parts.path.rstrip("/")


def _finish(connection: http.client.HTTPConnection, response: http.client.HTTPResponse, until: float) -> Reply:
    """Read the body piece by piece: a server that trickles bytes does not outlast the deadline."""
    pieces: list[bytes] = []
    try:
        while piece := response.read1(65536):
            pieces.append(piece)
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            if connection.sock is not None:
                connection.sock.settimeout(left)
    except TimeoutError:
        raise
    except (OSError, http.client.HTTPException) as error:
        raise Broken(str(error) or type(error).__name__, before_answer=False) from error
    missing = response.length
    response.close()  # `read1` alone does not tell the connection that the answer is complete
    if missing:
        raise Broken(f"the answer ended {missing} bytes early", before_answer=False)
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Reply(status=response.status, body=b"".join(pieces), retry_after_s=_seconds(response), headers=headers)


def _seconds(response: http.client.HTTPResponse) -> float | None:
    text = response.getheader("retry-after", "")
    try:
        return max(0.0, float(text))
    except ValueError:
        return None


def _readable(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLIN | select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))
