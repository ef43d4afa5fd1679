"""One address of a remote model over HTTP; what is said there, a dialect knows."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Mapping
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from kaname.client.connections import Connections
from kaname.client.exchanged import Broken, Reply
from kaname.errors import DeadlineExceeded, Unavailable
from kaname.runtimes.remote.refusals import refused, understood
from kaname.runtimes.remote.types import Described, Tensors, Trouble
from kaname.telemetry.tracecontext import OUTGOING


class Asked(NamedTuple):
    """A request for an inference."""

    path: str
    body: bytes
    headers: Mapping[str, str]


class Dialect(Protocol):
    """A protocol over HTTP, for one model."""

    def request(self, inputs: Tensors) -> Asked:
        """The request that carries the inputs."""

    def answer(self, reply: Reply) -> Tensors:
        """The outputs in an answer. Raises RemoteFailed for one that is not as the protocol says."""

    def ready(self, link: HttpLink, timeout_s: float) -> None:
        """Return when the model is ready. Raises Trouble, RemoteFailed."""

    def described(self, link: HttpLink, timeout_s: float) -> Described | None:
        """What the server says of the model; None: the protocol has no words for it. Raises Trouble, RemoteFailed."""


class HttpLink:
    """Kept connections to one address. See `types.Link`."""

    def __init__(
        self,
        url: str,
        dialect: Dialect,
        *,
        keep: int,
        headers: Mapping[str, str],
        tls: ssl.SSLContext | None,
        address: str,
    ) -> None:
        """`url`: what all paths begin with; `headers` go with every request; `address`: the link's name."""
        self.address = address
        self._url = url
        self._dialect = dialect
        self._headers = dict(headers)
        self._connections = Connections(url, keep=keep, tls=tls)

    def infer(self, inputs: Tensors, timeout_s: float) -> Tensors:
        """See `Link.infer`; the server is told how much time it has."""
        asked = self._dialect.request(inputs)
        headers = {**asked.headers, **OUTGOING.get(), "x-request-timeout-ms": str(max(1, int(timeout_s * 1000)))}
        reply = self._exchange("POST", asked.path, asked.body, headers, timeout_s)
        return understood(lambda: self._dialect.answer(reply), self.address)

    def probe(self, timeout_s: float) -> None:
        """See `Link.probe`."""
        understood(lambda: self._dialect.ready(self, timeout_s), self.address)

    def described(self, timeout_s: float) -> Described | None:
        """See `Link.described`."""
        return understood(lambda: self._dialect.described(self, timeout_s), self.address)

    def get(self, path: str, timeout_s: float) -> Reply:
        """The answer to a GET. Raises Trouble for one that is no success."""
        return self._exchange("GET", path, b"", {}, timeout_s)

    def reach(self, timeout_s: float) -> None:
        """Return when somebody listens. Raises Trouble."""
        parts = urlsplit(self._url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            socket.create_connection((parts.hostname or "", port), timeout_s).close()
        except OSError as error:
            raise Trouble(Unavailable(f"nobody listens: {error}", where=self.address)) from error

    def _exchange(self, method: str, path: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> Reply:
        began = time.monotonic()
        try:
            reply = self._connections.request(method, path, body, {**self._headers, **headers}, timeout_s)
        except Broken as broken:
            error = Unavailable(f"the connection to the remote failed: {broken}", where=self.address)
            raise Trouble(error, again=broken.before_answer, blame=True) from broken
        except TimeoutError:
            found = f"nothing within {(time.monotonic() - began) * 1000:.0f} ms"
            late = DeadlineExceeded("the remote did not answer in time", where=self.address, found=found)
            raise Trouble(late, blame=True) from None
        if reply.status >= 300:
            raise refused(reply, self.address)
        return reply

    def close(self) -> None:
        """See `Link.close`."""
        self._connections.close()
