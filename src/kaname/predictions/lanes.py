"""Where events wait for the writer thread, and the handlers that put them there under each policy.

A handler runs for every request, on the event loop: it estimates a size, appends to a list, and wakes the
thread if that sleeps. All of it is plain Python steps that the interpreter makes one at a time, so the thread
can take the lists without a lock.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Sequence

from kaname.call import Call, Handler, Observer, Outcome, Outputs, Together, TraceOf
from kaname.clock import Clock
from kaname.errors import Overloaded
from kaname.predictions.items import Item, RunItems, item_of, run_items, traced_item_of
from kaname.predictions.source import Source
from kaname.settings import Recording
from kaname.signature import Signature
from kaname.tensors import Tensor

CALL_BYTES = 700
"""Estimate of what a waiting call holds beside its values."""
CELL_BYTES = 32
"""Estimate of a Python number with its place in a list."""


Held = tuple[Call, Outcome]
"""A call that goes on with its outcome when its event is on disk."""


class Counts:
    """What happened so far in this process; each is written by one thread and may be read by any."""

    __slots__ = ("bytes", "commits", "dropped", "failures", "lost", "recorded", "refused", "sampled_out")

    def __init__(self) -> None:
        self.recorded = 0
        """Events on disk."""
        self.bytes = 0
        """Bytes of their blocks."""
        self.commits = 0
        self.failures = 0
        """Commits that failed (and were tried again)."""
        self.dropped = 0
        """Events not recorded because the buffer was full."""
        self.sampled_out = 0
        """Events not recorded because the buffer was over half full under `sample`."""
        self.refused = 0
        """Answers refused because the buffer was full under `block`."""
        self.lost = 0
        """Events given up: the recorder was stopped while the disk refused them, or they could not be encoded."""


class Buffer:
    """Bytes waiting, as two counters with one writer each: `queued` the loop, `written` the thread."""

    __slots__ = ("asleep", "closed", "limit", "queued", "urgent", "written")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.queued = 0
        self.written = 0
        self.urgent = False
        """Calls are held until their events are on disk."""
        self.asleep = False
        """The thread waits to be woken."""
        self.closed = False
        """Nothing will be written any more."""


Make = Callable[[Call, Outcome, int], Item]
Waiting = deque["Lane"]
"""The lanes that have something to write, some of them twice: there are thousands of lanes, and few are busy."""


class Lane:
    """The events of one version that wait for the thread, and under `block` the calls that wait for them."""

    __slots__ = ("blocking", "handler", "held", "pending", "runs", "source", "waiting")

    def __init__(self, source: Source, waiting: Waiting, *, blocking: bool) -> None:
        self.source = source
        self.waiting = waiting
        self.blocking = blocking
        self.pending: list[Item] = []
        self.runs: list[RunItems] = []
        self.held: list[Held] = []
        """One for each of `pending`, and there before it."""
        self.handler: weakref.ref[Handler] | None = None
        """Dead when no snapshot uses the lane any more."""

    def take(self) -> tuple[list[Item], list[RunItems], list[Held]]:
        """Everything that waits; safe beside appends of the loop, each of which is one step. What came too late to be
        taken lets the lane wait again: for the loop it was not the first."""
        taken, runs = self.pending[:], self.runs[:]
        del self.pending[: len(taken)]
        del self.runs[: len(runs)]
        if self.pending or self.runs:
            self.waiting.append(self)
        if not self.blocking:
            return taken, runs, []
        held = self.held[: len(taken)]
        del self.held[: len(taken)]
        return taken, runs, held


def observer_of(
    lane: Lane,
    signature: Signature,
    recording: Recording,
    buffer: Buffer,
    counts: Counts,
    clock: Clock,
    wake: Callable[[], None],
) -> Observer:
    """What fills `lane` under the policy of `recording`; which calls to keep or to hold is decided for each alone."""
    per_row = CELL_BYTES * (len(signature.columns) + len(signature.outputs))

    def handler(make: Make) -> Handler:
        record = _recording(lane, make, per_row, buffer, counts, clock, wake)
        return record if recording.policy != "sample" else _sampling(record, recording.sample, buffer, counts)

    def traced(trace_of: TraceOf) -> Handler:
        return handler(traced_item_of(trace_of))

    one_by_one = lane.blocking or recording.policy == "sample"
    together = None if one_by_one else _recording_runs(lane, per_row, buffer, counts, wake)
    return Observer(handler(item_of), together, traced)


NOT_RECORDED = Observer(lambda _, outcome: outcome, lambda _calls, _outputs: None)
"""Of a model that is not recorded."""


def _recording(
    lane: Lane,
    make: Make,
    per_row: int,
    buffer: Buffer,
    counts: Counts,
    clock: Clock,
    wake: Callable[[], None],
) -> Handler:
    """Lets the call go on; keeps it when the lane is a blocking one."""
    pending, append, hold, blocking = lane.pending, lane.pending.append, lane.held.append, lane.blocking
    waiting = lane.waiting
    row_bytes = CALL_BYTES + per_row
    now, limit = clock.monotonic_ns, buffer.limit

    def record(call: Call, outcome: Outcome) -> Outcome | None:
        queued = buffer.queued
        if queued - buffer.written >= limit or (blocking and buffer.closed):
            if blocking:
                counts.refused += 1
                return Overloaded("the prediction record does not keep up with traffic", retry_after_s=1.0)
            counts.dropped += 1
            return outcome
        buffer.queued = queued + (row_bytes if call.rows == 1 and call.tensors is None else _size_of(call, per_row))
        ended_ns = now()
        if blocking:
            hold((call, outcome))
        else:
            call.ended_ns = ended_ns
        append(make(call, outcome, ended_ns))
        if len(pending) == 1:
            waiting.append(lane)
        if blocking:
            buffer.urgent = True
        if buffer.asleep:
            wake()
        return None if blocking else outcome

    return record


def _recording_runs(lane: Lane, per_row: int, buffer: Buffer, counts: Counts, wake: Callable[[], None]) -> Together:
    """The same for all calls of a run at a time."""
    runs, limit, waiting = lane.runs, buffer.limit, lane.waiting

    def together(calls: Sequence[Call], run: Outputs) -> None:
        queued = buffer.queued
        if queued - buffer.written >= limit:
            counts.dropped += len(calls)
            return
        kept = run_items(calls, run)
        queued += CALL_BYTES * len(calls) + per_row * sum(kept.rows)
        if kept.tensors is not None:
            queued += sum(_tensor_bytes(tensors) for tensors in kept.tensors if tensors is not None)
        buffer.queued = queued
        runs.append(kept)
        if len(runs) == 1:
            waiting.append(lane)
        if buffer.asleep:
            wake()

    return together


def _sampling(record: Handler, share: float, buffer: Buffer, counts: Counts) -> Handler:
    """Every n-th event once the buffer is over half full, evenly rather than at random."""
    credit = 0.0

    def sample(call: Call, outcome: Outcome) -> Outcome | None:
        nonlocal credit
        if (buffer.queued - buffer.written) * 2 >= buffer.limit:
            credit += share
            if credit < 1.0:
                counts.sampled_out += 1
                return outcome
            credit -= 1.0
        return record(call, outcome)

    return sample


def _size_of(call: Call, per_row: int) -> int:
    """An estimate of the bytes that a call holds while it waits."""
    return CALL_BYTES + per_row * call.rows + (0 if call.tensors is None else _tensor_bytes(call.tensors))


def _tensor_bytes(tensors: tuple[Tensor, ...]) -> int:
    """Bytes of input tensors, the elements of BYTES included."""
    size = 0
    for tensor in tensors:
        size += tensor.nbytes
        if tensor.dtype.hasobject:
            size += sum(map(len, tensor.flat))
    return size
