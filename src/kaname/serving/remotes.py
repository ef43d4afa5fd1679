"""Remote models in the data plane: their lanes, and their numbers by address."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from kaname.errors import KanameError, Unavailable
from kaname.inference.lane import Lane
from kaname.inference.wide import WideLane
from kaname.models.types import VersionInfo
from kaname.resilience.deadlines import Deadlines
from kaname.runtimes.types import Elsewhere
from kaname.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from kaname.serving.node import Node

_NOT_LOADED = Unavailable("not in memory")


def unready(lane: Lane | None) -> KanameError | None:
    """Why a version cannot answer now without loading first; None: it can."""
    return _NOT_LOADED if lane is None else lane.trouble


def wide_lane(node: Node, info: VersionInfo, session: Elsewhere, deadlines: Deadlines, best_rows: int) -> WideLane:
    """The lane of a remote model; from now on its requests are counted."""
    config = node.config_of(info)
    session.tell(RemoteMeters(node.metrics, info, node.loop))
    ran, tracing = node.meters_of(info).ran(node.clock), node.tracing
    return WideLane(
        session,
        info.signature,
        best_rows=best_rows,
        loop=node.loop,
        clock=node.clock,
        deadlines=deadlines,
        queue=config.limits.queue,
        max_delay_ms=config.max_delay_ms,
        ran=ran if tracing is None else tracing.ran(ran),
        trace=None if tracing is None else tracing.outgoing,
    )


class RemoteMeters:
    """See `runtimes.types.Told`: told from any thread, counted on the loop's."""

    def __init__(self, metrics: Metrics, info: VersionInfo, loop: asyncio.AbstractEventLoop) -> None:
        self._metrics = metrics
        self._labels = {"model": info.model, "version": info.version}
        self._loop = loop

    def asked(self, address: str, code: str) -> None:
        """See `Told.asked`."""
        self._count("kaname_remote_requests_total", "Requests to remote servers.", address=address, code=code)

    def again(self, address: str) -> None:
        """See `Told.again`."""
        self._count("kaname_remote_retries_total", "Requests asked once more, by who had failed.", address=address)

    def health(self, address: str, ready: bool) -> None:
        """See `Told.health`."""
        self._later(lambda: self._left_out(address, not ready))

    def _count(self, name: str, help: str, **labels: str) -> None:  # noqa: A002  (Prometheus' own word)
        self._later(lambda: self._metrics.counter(name, help, **labels, **self._labels).add())

    def _left_out(self, address: str, out: bool) -> None:
        help_ = "Workers that leave an address out because it is not ready."
        gauge = self._metrics.gauge("kaname_remote_left_out", help_, policy="sum", address=address, **self._labels)
        gauge.set(float(out))

    def _later(self, count: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed
            self._loop.call_soon_threadsafe(count)
