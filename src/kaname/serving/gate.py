"""What all connections of a worker share: the URLs that predict, limits, the bytes in progress, the clock's tick."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from kaname.clock import Clock
from kaname.errors import InvalidInput, KanameError
from kaname.serving.exchange import Endpoint, Fields
from kaname.serving.heads import Heads
from kaname.settings import ServerSettings

SWEEP_S = 0.25

Resolve = Callable[[bytes], Endpoint | None]
"""The endpoint of a request target (path and query as sent), or None when it is not one that predicts."""


class Starved(Protocol):
    """A connection that waits for room."""

    def wanted_bytes(self) -> int:
        """The room it waits for; 0 when it no longer waits."""

    def resume(self) -> None:
        """There is room for request bytes again."""


class Swept(Protocol):
    """A connection as the sweeper sees it."""

    @property
    def busy(self) -> bool:
        """Whether a request is being received or has not been answered."""

    def sweep(self, now_ns: int) -> None:
        """Close or refuse what has been waiting for too long."""


class Gate:
    """One per worker. `now_ns` is monotonic time at the last sweep: coarse, and free to read.

    `closing` is set when the worker drains: answers then carry `connection: close`.
    """

    def __init__(
        self,
        settings: ServerSettings,
        clock: Clock,
        may_enter: Callable[[Fields], tuple[int, KanameError] | None],
        fallback: Endpoint,
        sharing: Callable[[bytes], bytes] = lambda _: b"",
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.may_enter = may_enter
        """None when Host and Origin are fine, else the status and the error to answer with."""
        self.fallback = fallback
        """Words the refusal of requests that reached no endpoint."""
        self._sharing = sharing
        self.echo: Callable[[bytes], bytes] = lambda trace: b"traceparent: %b\r\n" % trace
        """The header lines that tell a caller its own trace again."""
        self.resolve: Resolve = lambda _: None
        self.known: dict[bytes, Endpoint] = {}
        self.heads = Heads()
        self.connections: set[Swept] = set()
        self.closing = False
        self.now_ns = clock.monotonic_ns()
        self.held_bytes = 0
        self.inflight_bytes = settings.inflight_bytes
        self.refusals = max(1, round(settings.refusals_per_s * SWEEP_S))
        """Most refusals for overload on one connection between two sweeps."""
        self.activated: Callable[[], int] = lambda: 0
        """The newest change that all workers answer from."""
        self.switching = False
        """Whether a switch is prepared: the next request may have to run it first."""
        self._number = 0
        self._switch: Callable[[], None] | None = None
        self.starved: deque[Starved] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def find(self, target: bytes) -> Endpoint | None:
        """The endpoint for `target`; found ones are remembered until the next swap."""
        if self.switching and self.activated() >= self._number:
            self.switch()
        endpoint = self.known.get(target)
        if endpoint is None:
            endpoint = self.resolve(target)
            if endpoint is not None and endpoint.lasting:
                if len(self.known) >= 65_536:
                    self.known = {}
                self.known[target] = endpoint
        return endpoint

    def refusal(
        self, headers: list[tuple[bytes, bytes]], fields: Fields, version: str
    ) -> tuple[int, KanameError] | None:
        """`may_enter`, and that there is one Host (in HTTP/1.0 at most one), as RFC 9112 wants it refused otherwise."""
        if len(fields) != len(headers) or b"host" not in fields:
            hosts = sum(name == b"host" for name, _ in headers)
            if hosts > 1 or (not hosts and version == "1.1"):
                found = str(hosts)
                return 400, InvalidInput("a request needs one Host header", where="Host", found=found, expected="1")
        return self.may_enter(fields)

    def owed(self, fields: Fields) -> bytes:
        """Header lines that any answer to a request with these fields carries: the echo of its trace, and what lets a
        browser show it to a page of another origin."""
        trace, origin = fields.get(b"traceparent"), fields.get(b"origin")
        if trace is None and origin is None:
            return b""
        echo = b"" if trace is None else self.echo(trace)
        return echo if origin is None else echo + self._sharing(origin)

    def swap(self, resolve: Resolve) -> None:
        """Answer by a new snapshot from the next request on."""
        self.resolve = resolve
        self.known = {}
        self.heads = Heads()

    def prepare(self, number: int, switch: Callable[[], None]) -> None:
        """From the moment that change `number` is activated, the next request runs `switch` first."""
        self._number = number
        self._switch = switch
        self.switching = True

    def switch(self) -> None:
        """Run the prepared switch, unless a request already has."""
        if self._switch is not None:
            switch, self._switch = self._switch, None
            self.switching = False
            switch()

    def turn(self) -> None:
        """Run a prepared switch that is due; for doors that do not ask `find`."""
        if self.switching and self.activated() >= self._number:
            self.switch()

    def starve(self, connection: Starved) -> None:
        """Remember a connection that waits for room."""
        self.starved.append(connection)

    def free(self, size: int) -> None:
        """Give bytes back and let as many starved connections go on as there is room for."""
        self.held_bytes -= size
        starved = self.starved
        while starved and (not self.held_bytes or self.held_bytes + starved[0].wanted_bytes() <= self.inflight_bytes):
            starved.popleft().resume()

    def start(self) -> None:
        """Begin sweeping; needs a running loop."""
        self.now_ns = self.clock.monotonic_ns()
        self._timer = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        self.now_ns = now_ns = self.clock.monotonic_ns()
        for connection in list(self.connections):
            connection.sweep(now_ns)
        self._timer = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def stop(self) -> None:
        """Stop sweeping."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
