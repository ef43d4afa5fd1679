"""The metrics of a node on their way to a collector: those of `/metrics`, by one process for all workers.

Whichever worker claims it exports the sums of all; when it leaves, another one goes on where it stopped, for the sums
are those of the files. So nothing is counted twice, and the collector sees one source.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Container, Mapping

import structlog

from kaname.clock import Clock
from kaname.telemetry.exemplars import read_exemplars
from kaname.telemetry.families import gather
from kaname.telemetry.logs import Throttle
from kaname.telemetry.metrics import Metrics
from kaname.telemetry.otlp.messages import metrics_request, rejected_points
from kaname.telemetry.otlp.sender import Sender, end
from kaname.telemetry.otlp.types import Claim
from kaname.telemetry.spans import Value

_log = structlog.get_logger("kaname.otlp")
LAST_S = 1.0
"""Longest time of the export after `stop`."""
SINCE = "since"
"""The file that says from when on the node's counters count."""


LOOK_S = 0.02


class MetricsExporter:
    """One per worker; only the one that holds the claim sends anything."""

    def __init__(
        self,
        sender: Sender,
        resource: Mapping[str, Value],
        metrics: Metrics,
        clock: Clock,
        *,
        live_slots: Callable[[], Container[int]],
        claim: Claim,
        interval_s: float,
    ) -> None:
        self._sender = sender
        self._resource = resource
        self._clock = clock
        self._folder = metrics.folder
        self._live_slots = live_slots
        self._claim = claim
        self._interval_s = interval_s
        self._failures = metrics.counter(
            "kaname_otlp_failures_total", "Exports that a collector did not take.", signal="metrics"
        ).add
        self._closing = threading.Event()
        self._throttle = Throttle(clock)
        self._thread = threading.Thread(target=self._run, name="kaname-otlp-metrics", daemon=True)

    def start(self) -> None:
        """Begin to export."""
        self._thread.start()

    def stop(self) -> None:
        """Export once more; returns at once, `join` waits."""
        self._closing.set()

    def join(self, timeout_s: float) -> None:
        """Wait for the end of the thread; a collector that does not answer in that time is not waited for."""
        end(self._thread, self._sender, timeout_s)

    def _run(self) -> None:
        while not self._closing.wait(self._interval_s):
            if self._claim.held():
                self._export(None)
        until = time.monotonic() + LAST_S
        while (
            not self._claim.held() and time.monotonic() < until
        ):  # another one leaves as well: the last one sends last
            time.sleep(LOOK_S)
        if self._claim.held():
            self._export(until - time.monotonic())
        self._claim.release()
        self._sender.close()

    def _export(self, longest_s: float | None) -> None:
        try:
            sent = self._sender.send(self._message(), longest_s)
            rejected, reason = (0, "") if sent.fault else rejected_points(sent.answer)
        except Exception:  # noqa: BLE001  (the next export may go well)
            self._failures(1)
            _log.exception("metrics could not be exported")
            return
        if sent.fault or rejected:
            self._failures(1)
            held_back = self._throttle.due("failed")
            if held_back is not None:
                reason = sent.fault or f"{rejected} points rejected: {reason}"
                _log.warning("metrics are not taken", url=self._sender.url, reason=reason, held_back=held_back)

    def _message(self) -> bytes:
        now_ns = self._clock.time_ns()
        families = gather(self._folder, self._live_slots())
        return metrics_request(self._resource, families, read_exemplars(self._folder), self._since_ns(now_ns), now_ns)

    def _since_ns(self, now_ns: int) -> int:
        """When the counters began; they are kept over restarts, so this is as well."""
        path = self._folder / SINCE
        try:
            return int(path.read_text())
        except (FileNotFoundError, ValueError):
            path.write_text(str(now_ns))
            return now_ns
