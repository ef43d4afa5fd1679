"""Host and Origin checks: a page in somebody's browser must not reach a server on their machine (DNS rebinding)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kaname.errors import Forbidden, InvalidInput, KanameError
from kaname.ids import IdSource
from kaname.web.problems import problem

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?")
_CACHED = 1024
_PREFLIGHT = [
    (b"access-control-allow-methods", b"GET, POST, PUT, PATCH, DELETE"),
    (
        b"access-control-allow-headers",
        b"authorization, content-type, idempotency-key, if-match, if-none-match, traceparent",
    ),
    (b"access-control-max-age", b"600"),
    (b"content-length", b"0"),
]


_EXPOSED = "etag, location, retry-after, x-request-id"
"""Header fields that scripts of other origins may read."""


class HostGuard:
    """Which names this server answers to, and which browser origins may ask it.

    Bound to loopback it answers to the loopback names only; bound to another address without a list of hosts it
    answers to any (requests need a key there). Names in `hosts` and origins in `origins` are allowed beside.
    """

    def __init__(self, bound: str, hosts: Iterable[str] = (), origins: Iterable[str] = ()) -> None:
        named = frozenset(host.lower() for host in hosts)
        name = f"[{bound}]" if ":" in bound and not bound.startswith("[") else bound
        loopback = name.lower() in _LOOPBACK or name.startswith("127.")
        self._hosts = named | _LOOPBACK | {name.lower()} if loopback or named else None
        self._origins = frozenset(origin.lower().rstrip("/") for origin in origins)
        self._good: set[tuple[bytes | None, bytes | None]] = set()

    def refusal(self, host: bytes | None, origin: bytes | None) -> KanameError | None:
        """Why a request with these header values is refused; None when it is not. One set look-up when seen before."""
        pair = (host, origin)
        if pair in self._good:
            return None
        error = self._check_host(host) or self._check_origin(host, origin)
        if error is None:
            if len(self._good) >= _CACHED:
                self._good.clear()
            self._good.add(pair)
        return error

    def shares_with(self, origin: str | None) -> bool:
        """Whether a browser may show answers to scripts of this other origin."""
        return origin is not None and origin.lower() in self._origins

    def sharing(self, origin: bytes) -> bytes:
        """The header lines of answers that a browser may show to scripts of this origin; none for other origins."""
        if not self.shares_with(origin.decode("latin-1")):
            return b""
        return b"access-control-allow-origin: %b\r\naccess-control-expose-headers: %b\r\nvary: origin\r\n" % (
            origin,
            _EXPOSED.encode(),
        )

    def _check_host(self, host: bytes | None) -> KanameError | None:
        if host is None:
            return None  # HTTP/1.0; every browser sends one
        match = _HOST.fullmatch(host.decode("latin-1"))
        if match is None:
            return InvalidInput("malformed host", where="Host", found=repr(host.decode("latin-1")))
        if self._hosts is None or match["name"].lower() in self._hosts:
            return None
        return Forbidden(
            "the server does not answer to this name; `server.allowed_hosts` lists those beside its own",
            where="Host",
            found=match["name"],
            expected=", ".join(sorted(self._hosts)),
        )

    def _check_origin(self, host: bytes | None, origin: bytes | None) -> KanameError | None:
        if origin is None:
            return None
        found = origin.decode("latin-1").lower()
        if host is not None and found.partition("://")[2] == host.decode("latin-1").lower():
            return None
        if found in self._origins:
            return None
        return Forbidden(
            "pages of this origin may not ask the server; `server.allowed_origins` lists those that may",
            where="Origin",
            found=found,
            expected=", ".join(sorted(self._origins)) or "the server's own origin",
        )


class Guarded:
    """ASGI middleware that asks a HostGuard before anything else, and speaks CORS with the origins it allows."""

    def __init__(self, app: ASGIApp, guard: HostGuard, ids: IdSource) -> None:
        self._app = app
        self._guard = guard
        self._ids = ids

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        error = self._refusal(scope, headers)
        if error is not None:
            await self._refuse(error, scope, send)
            return
        origin = headers.get("origin")
        if not self._guard.shares_with(origin):
            await self._app(scope, receive, send)
        elif scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await send({"type": "http.response.start", "status": 204, "headers": [*_PREFLIGHT, *_cors(origin)]})
            await send({"type": "http.response.body", "body": b""})
        else:
            await self._app(scope, receive, _sharing(send, origin))

    def _refusal(self, scope: Scope, headers: Headers) -> KanameError | None:
        hosts = headers.getlist("host")
        if len(hosts) > 1 or (not hosts and scope["http_version"] == "1.1"):
            return InvalidInput("a request needs one Host header", where="Host", found=str(len(hosts)), expected="1")
        origin = headers.get("origin")
        return self._guard.refusal(
            hosts[0].encode("latin-1") if hosts else None, None if origin is None else origin.encode("latin-1")
        )

    async def _refuse(self, error: KanameError, scope: Scope, send: Send) -> None:
        status, headers, body = problem(error, instance=scope["path"], request_id=self._ids())
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _cors(origin: str | None) -> list[tuple[bytes, bytes]]:
    return [(b"access-control-allow-origin", (origin or "").encode("latin-1")), (b"vary", b"origin")]


def _sharing(send: Send, origin: str | None) -> Send:
    async def share(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=list(message.get("headers", [])))
            headers["access-control-allow-origin"] = origin or ""
            headers["access-control-expose-headers"] = _EXPOSED
            headers.add_vary_header("origin")
            message = {**message, "headers": headers.raw}
        await send(message)

    return share
