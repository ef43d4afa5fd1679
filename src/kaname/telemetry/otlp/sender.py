"""One POST to a collector, and what is to be done about its answer."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Mapping
from typing import NamedTuple

from kaname import __version__
from kaname.errors import InvalidInput
from kaname.secret import Secret

RETRYABLE = frozenset({429, 502, 503, 504})
"""As OTLP/HTTP says: https://opentelemetry.io/docs/specs/otlp/#failures-1."""
MOST_ANSWER = 64 * 1024
GZIP_LEVEL = 1
ABORT_S = 0.2
"""Longest wait for a thread whose exchange was aborted."""


class Sent(NamedTuple):
    """What became of an export: `fault` is None where the collector took it, else why it did not; then `again` says
    whether trying later may help, `after_s` how long the collector wants to be left alone (0: it says nothing)."""

    answer: bytes = b""
    fault: str | None = None
    again: bool = False
    after_s: float = 0.0


class Sender:
    """Keeps a connection to one URL. For one thread."""

    def __init__(
        self, url: str, headers: Mapping[str, Secret], *, ca: str | None, compress: bool, timeout_s: float
    ) -> None:
        """Raises InvalidInput where the file `ca` cannot be read."""
        parts = urllib.parse.urlsplit(url)
        assert parts.hostname is not None
        self.url = url
        self._host, self._port = parts.hostname, parts.port
        self._target = parts.path + (f"?{parts.query}" if parts.query else "") or "/"
        self._context = _context(ca) if parts.scheme == "https" else None
        self._headers = headers
        self._compress = compress
        self._timeout_s = timeout_s
        self._kept: http.client.HTTPConnection | None = None

    def send(self, body: bytes, longest_s: float | None = None) -> Sent:
        """Deliver `body`; waits for `longest_s` at most at each step where that is less than the usual time."""
        if self._compress:
            body = gzip.compress(body, GZIP_LEVEL)
        timeout_s = self._timeout_s if longest_s is None else min(self._timeout_s, longest_s)
        until = time.monotonic() + timeout_s
        fresh = self._kept is None
        while True:
            try:
                return self._post(body, max(0.05, until - time.monotonic()))
            except (OSError, http.client.HTTPException) as error:
                self.close()
                if fresh or isinstance(error, TimeoutError):  # a kept connection may have been closed long ago
                    return Sent(fault=f"{type(error).__name__}: {error}", again=True)
                fresh = True

    def _post(self, body: bytes, timeout_s: float) -> Sent:
        connection = self._kept or self._connection(timeout_s)
        self._kept = connection
        if connection.sock is not None:
            connection.sock.settimeout(timeout_s)
        headers = {name: value.reveal() for name, value in self._headers.items()}
        headers |= {"content-type": "application/x-protobuf", "user-agent": f"kaname/{__version__}"}
        if self._compress:
            headers["content-encoding"] = "gzip"
        connection.request("POST", self._target, body, headers)
        with connection.getresponse() as response:
            answer = response.read(MOST_ANSWER)
            if response.status >= 400 or not response.isclosed():
                self.close()
            return _judged(response.status, answer, response.getheader("retry-after"))

    def _connection(self, timeout_s: float) -> http.client.HTTPConnection:
        if self._context is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
        return http.client.HTTPSConnection(self._host, self._port, timeout=timeout_s, context=self._context)

    def abort(self) -> None:
        """End an exchange that another thread waits for; it then fails there."""
        kept = self._kept
        connection = None if kept is None else kept.sock
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the connection."""
        kept, self._kept = self._kept, None
        if kept is not None:
            with contextlib.suppress(OSError):
                kept.close()


def end(thread: threading.Thread, sender: Sender, timeout_s: float) -> None:
    """Wait for a thread that sends, which was told to end; what it waits for after that time is aborted."""
    if not thread.is_alive():
        return
    thread.join(timeout_s)
    if thread.is_alive():
        sender.abort()
        thread.join(ABORT_S)


def _context(ca: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInput(f"cannot be read: {error}", where="telemetry.otlp.ca", found=ca) from None


def _judged(status: int, answer: bytes, retry_after: str | None) -> Sent:
    if 200 <= status < 300:
        return Sent(answer)
    after_s = float(retry_after) if retry_after is not None and retry_after.isdecimal() else 0.0
    return Sent(fault=f"the collector answered {status}", again=status in RETRYABLE, after_s=after_s)
