"""The spans of a worker on their way to a collector: a bounded queue, and a thread that empties it.

The event loop only appends. Whatever the collector does, a request waits for nothing: what the queue cannot hold, and
what the collector does not take after some attempts, is dropped and counted.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple

import structlog

from kaname.clock import Clock
from kaname.telemetry.logs import Throttle
from kaname.telemetry.metrics import Metrics
from kaname.telemetry.otlp.messages import rejected_spans
from kaname.telemetry.otlp.sender import Sender, Sent, end
from kaname.telemetry.otlp.wire import trace_request
from kaname.telemetry.spans import Finished, Value

_log = structlog.get_logger("kaname.otlp")
BATCH = 256
"""Requests in one export."""
ATTEMPTS = 5
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
LAST_S = 1.0
"""Longest time of all exports after `stop`."""


class _Export(NamedTuple):
    """A message that is to be delivered, and how many spans are in it."""

    body: bytes
    spans: int


class TraceMeters:
    """What became of spans."""

    def __init__(self, metrics: Metrics) -> None:
        def spans(result: str) -> Callable[[float], None]:
            return metrics.counter("kaname_spans_total", "Spans, by what became of them.", result=result).add

        self.exported = spans("exported")
        self.queue_full = spans("queue_full")
        self.failed = spans("failed")
        self.rejected = spans("rejected")
        self.failures = metrics.counter(
            "kaname_otlp_failures_total", "Exports that a collector did not take.", signal="traces"
        ).add


class TraceExporter:
    """The `Spool` of one worker. `offer` is for the event loop; `start` and `stop` for any thread."""

    def __init__(
        self,
        sender: Sender,
        resource: Mapping[str, Value],
        meters: TraceMeters,
        clock: Clock,
        *,
        queue_requests: int,
        interval_s: float,
        each: Callable[[], None] = lambda: None,
    ) -> None:
        """`each` is called on the thread before each export."""
        self._sender = sender
        self._resource = resource
        self._meters = meters
        self._clock = clock
        self._most = queue_requests
        self._interval_s = interval_s
        self._each = each
        self._queue: deque[Finished] = deque()
        self._wake = threading.Event()
        self._closing = False
        self._until_ns = 0
        self._pending: _Export | None = None
        self._attempts = 0
        self._not_before_ns = 0
        self._throttle = Throttle(clock)
        self._thread = threading.Thread(target=self._run, name="kaname-otlp-traces", daemon=True)

    def offer(self, finished: Finished) -> None:
        """Send it with the next export."""
        queue = self._queue
        if len(queue) >= self._most:
            self._meters.queue_full(finished.size)
            return
        queue.append(finished)
        if len(queue) == BATCH:
            self._wake.set()

    def start(self) -> None:
        """Begin to export."""
        self._thread.start()

    def stop(self) -> None:
        """Send what is left, but for a second at most; returns at once, `join` waits."""
        self._until_ns = self._clock.monotonic_ns() + int(LAST_S * 1e9)
        self._closing = True
        self._wake.set()

    def join(self, timeout_s: float) -> None:
        """Wait for the end of the thread; a collector that does not answer in that time is not waited for."""
        end(self._thread, self._sender, timeout_s)

    # --- on the thread ------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing:
            self._wake.wait(self._interval_s)
            self._wake.clear()
            try:
                self._each()
                self._empty()
            except Exception:  # noqa: BLE001  (what comes later must be sent)
                self._meters.failures(1)
                _log.exception("traces could not be exported")
        self._drop()
        self._sender.close()

    def _empty(self) -> None:
        """Export until nothing is left, or the collector does not want more now."""
        while self._clock.monotonic_ns() >= self._not_before_ns or self._closing:
            if self._pending is None:
                self._pending = self._take()
            if self._pending is None or not self._deliver(self._pending):
                return

    def _take(self) -> _Export | None:
        batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
        if not batch:
            return None
        return _Export(trace_request(self._resource, batch), sum(one.size for one in batch))

    def _deliver(self, export: _Export) -> bool:
        """Whether the export is done with, for good or ill."""
        left_s = (self._until_ns - self._clock.monotonic_ns()) / 1e9 if self._closing else None
        if left_s is not None and left_s <= 0:
            return False
        sent = self._sender.send(export.body, left_s)
        if sent.fault is None:
            self._count(export, sent)
        else:
            self._meters.failures(1)
            self._attempts += 1
            if sent.again and self._attempts < ATTEMPTS:
                self._put_off(sent)
                return False
            self._complain("spans are dropped: the collector does not take them", sent.fault)
            self._meters.failed(export.spans)
        self._pending, self._attempts = None, 0
        return True

    def _count(self, export: _Export, sent: Sent) -> None:
        rejected, reason = rejected_spans(sent.answer)
        self._meters.exported(export.spans - rejected)
        if rejected:
            self._meters.rejected(rejected)
            self._complain("the collector rejects spans", reason)

    def _put_off(self, sent: Sent) -> None:
        self._complain("traces wait: the collector cannot be reached", sent.fault or "")
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (self._attempts - 1))
        pause_s = max(sent.after_s, pause_s * random.uniform(0.5, 1.0))  # noqa: S311  (no secret)
        self._not_before_ns = self._clock.monotonic_ns() + int(pause_s * 1e9)

    def _drop(self) -> None:
        """Count what will not be sent any more."""
        left = sum(one.size for one in self._queue) + (0 if self._pending is None else self._pending.spans)
        self._meters.failed(left)

    def _complain(self, message: str, reason: str) -> None:
        held_back = self._throttle.due(message)
        if held_back is not None:
            _log.warning(message, url=self._sender.url, reason=reason, held_back=held_back)
