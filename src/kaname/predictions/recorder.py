"""Records every request: a handler on the event loop, one writer thread, one commit for all in a time window.

The handler appends to a list and returns; encoding and the disk belong to the thread. What an owner chose for
the time when the disk is slower than traffic (`drop`, `sample`, `block`) is decided in the handler.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial

import structlog

from kaname.call import Call, Observer, Outcome, Target
from kaname.clock import Clock
from kaname.errors import Unavailable
from kaname.predictions.encoding import Encoded, encode, encode_runs
from kaname.predictions.items import Item, RunItems
from kaname.predictions.lanes import NOT_RECORDED, Buffer, Counts, Held, Lane, Waiting, observer_of
from kaname.predictions.source import Source
from kaname.predictions.types import TOPIC
from kaname.settings import Recording
from kaname.signature import Signature
from kaname.storage.events.types import EventWriter

FIRST_RETRY_S = 0.05
LONGEST_RETRY_S = 1.0
HOUSEKEEPING_S = 1.0
COMPLAIN_EVERY_NS = 60_000_000_000

_log = structlog.get_logger("kaname.predictions")


class Recorder:
    """Writes the prediction record of one process through `writer`, which its thread alone uses after `start`.

    `commit_ms` bounds the time between an answer and its place on the disk while the disk keeps up;
    `buffer_bytes` what may wait. `on_commit(seconds, events, bytes)` and `housekeeping(writer)` are called in
    the writer thread; the latter about once a second, and again after the next commit while it returns True.
    """

    def __init__(
        self,
        writer: EventWriter,
        clock: Clock,
        *,
        commit_ms: float = 10.0,
        buffer_bytes: int = 64 * 1024 * 1024,
        on_commit: Callable[[float, int, int], None] | None = None,
        housekeeping: Callable[[EventWriter], bool] | None = None,
    ) -> None:
        self.counts = Counts()
        self._writer = writer
        self._clock = clock
        self._commit_s = commit_ms / 1000
        self._on_commit = on_commit
        self._housekeeping = housekeeping
        self._buffer = Buffer(buffer_bytes)
        self._lanes: list[Lane] = []
        self._waiting = Waiting()
        self._held: list[Held] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._give_up_ns = 0
        self._usual_s = 0.0
        self._complained_ns = -COMPLAIN_EVERY_NS
        self._kept_house_ns = 0
        self._busy = False
        self._thread = threading.Thread(target=self._run, name="prediction-record", daemon=True)

    # --- on the event loop ----------------------------------------------------------------------------------

    def observer(self, target: Target, signature: Signature, recording: Recording) -> Observer:
        """What records the calls of one version; build it once per snapshot and push it per call.

        It takes any outcome, so that refused and failed requests are recorded too. Under `block` it keeps the
        call and ends it after its event is on disk.
        """
        if not recording.enabled:
            return NOT_RECORDED
        lane = Lane(Source(target, signature, recording), self._waiting, blocking=recording.policy == "block")
        observer = observer_of(lane, signature, recording, self._buffer, self.counts, self._clock, self._rouse)
        lane.handler = weakref.ref(observer.each)
        self._lanes.append(lane)
        return observer

    def _rouse(self) -> None:
        self._buffer.asleep = False
        self._wake.set()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to write; `loop` is where calls held under `block` go on."""
        self._loop = loop
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Write what waits and end the thread; gives up on a disk that refuses for `timeout_s` seconds.

        Call it when no request is in progress any more. The writer may be closed afterwards.
        """
        self._give_up_ns = self._clock.monotonic_ns() + int(timeout_s * 1e9)
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def _fail_late(self) -> None:
        """Fail held calls whose deadline has passed: their events may still be written."""
        now = self._clock.monotonic_ns()
        waiting = [held for lane in self._lanes for held in lane.held]
        _fail([held for held in self._held + waiting if 0 < held[0].deadline_ns <= now])

    # --- in the writer thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            self._rest()
            stopping = self._stopping.is_set()
            self._write()
            self._keep_house()
            if stopping and not self._waiting:
                self._buffer.closed = True
                return

    def _rest(self) -> None:
        """Sleep until there is something to write, then for the rest of the commit window."""
        buffer = self._buffer
        if not self._waiting:
            self._wake.clear()
            buffer.asleep = True  # first this, then another look: an append in between is seen by one of the two
            if not self._waiting and not self._stopping.is_set():
                self._wake.wait(self._commit_s if self._busy else HOUSEKEEPING_S)
            buffer.asleep = False
        if self._stopping.is_set() or buffer.urgent:
            return
        if self._waiting:
            time.sleep(max(self._commit_s - self._usual_s, 0.001))

    def _write(self) -> None:
        self._buffer.urgent = False
        queued = self._buffer.queued  # before the lists are taken: all of it is in them
        events = size = 0
        held: list[Held] = []
        for _ in range(len(self._waiting)):
            lane = self._waiting.popleft()
            taken, runs, waiting = lane.take()
            for block in self._encode(lane, taken, runs):
                events += block.events
                size += len(block.value)
            held += waiting
        if events:
            self._held = held
            self._commit(events, size)
            self._held = []
        elif held:
            self._on_loop(partial(_fail, held))
        self._buffer.written = queued

    def _encode(self, lane: Lane, items: list[Item], runs: list[RunItems]) -> list[Encoded]:
        """Encode and stage; what cannot be is counted as lost and said, and keeps nobody waiting."""
        model = lane.source.target.model
        try:
            wall_ns = self._clock.time_ns() - self._clock.monotonic_ns()
            blocks = encode_runs(lane.source, runs, wall_ns) if runs else []
            if items:
                blocks += encode(lane.source, items, wall_ns)
            for block in blocks:
                self._writer.append_block(TOPIC, model, *block)
        except Exception:  # noqa: BLE001  (the thread must live)
            events = len(items) + sum(len(run.ids) for run in runs)
            self.counts.lost += events
            _log.exception("predictions could not be encoded", model=model, events=events)
            return []
        return blocks

    def _commit(self, events: int, size: int) -> None:
        """Commit, again and again while the disk refuses; then let held calls go on."""
        pause = FIRST_RETRY_S
        while True:
            began = self._clock.monotonic_ns()
            try:
                self._writer.commit()
                break
            except Exception as error:  # noqa: BLE001  (the thread must live, whatever the disk or its driver says)
                self._complain(error)
            if self._stopping.is_set() and self._clock.monotonic_ns() >= self._give_up_ns:
                self.counts.lost += events
                self._on_loop(partial(_fail, self._held))
                return
            self._on_loop(self._fail_late)
            self._stopping.wait(pause) if not self._stopping.is_set() else time.sleep(FIRST_RETRY_S)
            pause = min(pause * 2, LONGEST_RETRY_S)
        seconds = (self._clock.monotonic_ns() - began) / 1e9
        self._usual_s += (seconds - self._usual_s) / 8
        counts = self.counts
        counts.recorded += events
        counts.bytes += size
        counts.commits += 1
        if self._held:
            self._on_loop(partial(_go_on, self._held))
        if self._on_commit is not None:
            self._on_commit(seconds, events, size)

    def _keep_house(self) -> None:
        now = self._clock.monotonic_ns()
        if not self._busy and now - self._kept_house_ns < HOUSEKEEPING_S * 1e9:
            return
        self._kept_house_ns = now
        self._busy = False
        for lane in [lane for lane in self._lanes if lane.handler is not None and lane.handler() is None]:
            self._lanes.remove(lane)
        try:
            self._writer.commit()  # nothing is staged: retention by age only
            if self._housekeeping is not None:
                self._busy = self._housekeeping(self._writer)
        except OSError as error:
            self._complain(error)
        except Exception:  # noqa: BLE001  (the thread must live)
            _log.exception("housekeeping of the prediction record failed")

    def _complain(self, error: Exception) -> None:
        """Count a failure and say it, at most once a minute."""
        self.counts.failures += 1
        now = self._clock.monotonic_ns()
        if now - self._complained_ns >= COMPLAIN_EVERY_NS:
            self._complained_ns = now
            _log.error(
                "the prediction record cannot be written; answers go on except where `record.policy` is `block`",
                error=str(error),
                failures=self.counts.failures,
                dropped=self.counts.dropped,
            )

    def _on_loop(self, work: Callable[[], None]) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody waits there any more
                self._loop.call_soon_threadsafe(work)


def _go_on(held: list[Held]) -> None:
    """End the calls whose events are on disk."""
    for call, outcome in held:
        _end(call, outcome)


def _fail(held: list[Held]) -> None:
    """End the calls whose events are not on disk in time."""
    for call, _ in held:
        _end(call, Unavailable("the prediction record cannot be written, and this model requires it"))


def _end(call: Call, outcome: Outcome) -> None:
    """End a held call unless it has ended meanwhile."""
    if not call.done:
        call.end(outcome)
