"""A lane: all calls for one loaded version in one worker, run in batches that nobody waits for.

What has accumulated while the runtime was busy runs next, up to the batch size that the version's profile
found best. A call's fault is its own: when a batch fails, its members run alone, each with its own result.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from kaname.call import Answer, Call, Outcome, Outputs, answer_all, as_error
from kaname.clock import Clock
from kaname.errors import CallerLeft, InvalidInput, KanameError, ModelFailed, Overloaded
from kaname.inference.crew import Crew
from kaname.inference.gather import check_table, gather_for, strict_context
from kaname.resilience.deadlines import Deadlines
from kaname.runtimes.types import Session
from kaname.signature import Signature
from kaname.tensors import Tensor

_Result = Outputs | list[Outputs | KanameError]
"""Of a whole batch, or of each of its calls."""


class Run(Protocol):
    """A run that has ended: its calls, their rows, when it began, and nanoseconds: what its calls had waited, all
    together; its inputs; the runtime."""

    calls: list[Call]
    rows: int
    began_ns: int
    waited_ns: int
    input_ns: int
    compute_ns: int


Ran = Callable[[Run], None]
"""Told of each run."""


class Feeder(Protocol):
    """Where calls wait that a lane has not been given yet."""

    def ran(self, calls: int, full: bool, run_ns: int, backlog: int) -> None:
        """A run of `calls` has ended that took `run_ns`, was or was not full, and left `backlog` calls in the lane."""

    def refill(self) -> None:
        """The lane has room."""


class Lane:
    """Batches calls for one session. All methods belong to the loop's thread.

    `best_rows` bounds a batch (a larger single request still runs, alone). `crew` is None for versions fast
    enough to run on the loop. `max_delay_ms` > 0 lets a lone call wait for others that long.
    """

    def __init__(
        self,
        session: Session,
        signature: Signature,
        *,
        best_rows: int,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        deadlines: Deadlines,
        crew: Crew | None = None,
        queue: int = 10_000,
        max_delay_ms: float = 0.0,
        ran: Ran | None = None,
    ) -> None:
        self._session = session
        self._signature = signature
        self._gather = gather_for(signature)
        self._best_rows = best_rows if signature.batched else 1
        self._ragged = any(size == -1 for spec in signature.inputs for size in spec.shape[1:])
        self._loop = loop
        self._clock = clock
        self._crew = crew
        self._deadlines = deadlines
        self._queue = queue
        self._delay_s = max_delay_ms / 1000
        self._ran = ran
        self.feeder: Feeder | None = None
        """Set where calls wait in front of the lane."""
        self._context = strict_context()
        self._pending: deque[Call] = deque()
        self._scheduled = False
        self._running = 0
        self._engaged = False
        """Whether no other run can begin now."""
        self._alarm: asyncio.TimerHandle | None = None
        self._on_idle: Callable[[], None] | None = None
        self._holds = 0
        self.used_ns = clock.monotonic_ns()
        """When it was last asked."""
        self.runs = 0

    @property
    def busy(self) -> bool:
        """Whether a call is in the lane, or a stream beside it."""
        return bool(self._pending or self._scheduled or self._running or self._holds)

    def hold(self) -> None:
        """Use the session beside the lane: it is not closed before `let_go`."""
        self._holds += 1

    def let_go(self) -> None:
        """The end of one `hold`."""
        self._holds -= 1
        self.used_ns = self._clock.monotonic_ns()
        self._rest()

    @property
    def session(self) -> Session:
        """What runs the batches, for streams, which run beside them."""
        return self._session

    @property
    def trouble(self) -> KanameError | None:
        """Why it cannot answer now although its session is open; None: it can."""
        return None

    @property
    def width(self) -> int:
        """Runs that go on at once."""
        return 1

    @property
    def waiting(self) -> int:
        """Calls that wait for the runtime."""
        return len(self._pending)

    @property
    def inside(self) -> int:
        """Calls that wait for the runtime or are in it."""
        return len(self._pending) + self._running

    def after(self, seconds: float, work: Callable[[], None]) -> None:
        """Do `work` on the loop, later."""
        self._loop.call_later(seconds, work)

    def submit(self, call: Call) -> None:
        """The step that ends the request path: the call is answered or failed later, on the loop."""
        pending = self._pending
        if len(pending) >= self._queue and not self._shed():
            call.fail(Overloaded("the queue of this model is full", found=f"{len(pending)} waiting", retry_after_s=1.0))
            return
        pending.append(call)
        if self._crew is not None and call.deadline_ns:
            self._deadlines.watch(call)
            call.back(self._forget)
        if not (self._scheduled or self._engaged):
            self._schedule()

    def _shed(self) -> bool:
        """Let go of calls at the head that have ended or whose callers have left; whether that made room."""
        pending = self._pending
        while pending and (pending[0].done or pending[0].gone):
            _drop(pending.popleft())
        return len(pending) < self._queue

    def _forget(self, call: Call, outcome: Outcome) -> Outcome:
        self._deadlines.forget(call)
        return outcome

    def _schedule(self) -> None:
        if self._delay_s and len(self._pending) < self._best_rows:
            if self._alarm is None:
                self._alarm = self._loop.call_later(self._delay_s, self._flush, context=self._context)
            return
        self._scheduled = True
        self._loop.call_soon(self._flush, context=self._context)

    def _flush(self) -> None:
        self._scheduled = False
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        batch = self._take()
        if not batch.calls:
            self._rest()
        elif self._crew is None:
            self._attempt(batch)
            self._tell(batch)
            self._settle(batch)
            self._rest()
        else:
            self._post(batch)

    def _post(self, batch: Batch) -> None:
        assert self._crew is not None
        self._running = len(batch.calls)
        self._engaged = True
        self._crew.post(lambda: strict_context().run(self._on_thread, batch))

    def _on_thread(self, batch: Batch) -> None:
        assert self._crew is not None
        batch.let_go(self._clock.monotonic_ns())
        self._attempt(batch)
        self._crew.back(lambda: self._from_thread(batch))

    def _from_thread(self, batch: Batch) -> None:
        self._running = 0
        self._engaged = False
        self._scheduled = True  # until all of it is settled: nothing else starts a run, and the session stays
        self._tell(batch)
        if self._pending and not self._delay_s:
            following = self._take()
            if following.calls:
                self._post(following)  # the thread goes on while the answers are written
        self._settle(batch)
        self._scheduled = False
        self._rest()

    def _tell(self, batch: Batch) -> None:
        """Say what ran, and let those who wait outside follow."""
        calls = len(batch.calls)
        if not calls:
            return
        if self._ran is not None:
            self._ran(batch)
        if self.feeder is not None:
            full = batch.rows >= self._best_rows
            self.feeder.ran(calls, full, batch.input_ns + batch.compute_ns, len(self._pending))

    def _rest(self) -> None:
        if self.feeder is not None and not self._pending:
            self.feeder.refill()
        if self._pending:
            if not (self._scheduled or self._engaged):
                self._schedule()
        elif self._on_idle is not None and not (self._scheduled or self._running or self._holds):
            on_idle, self._on_idle = self._on_idle, None
            on_idle()

    def _take(self) -> Batch:
        """The next batch: whole calls, in order, of equal trailing shapes, within `best_rows`."""
        pending, best = self._pending, self._best_rows
        calls: list[Call] = []
        rows = waited = 0
        now = self.used_ns = self._clock.monotonic_ns()
        while pending:
            call = pending[0]
            if call.done or call.gone:
                _drop(pending.popleft())
                continue
            if calls and (rows + call.rows > best or (self._ragged and not _alike(calls[0], call))):
                break
            pending.popleft()
            if call.deadline_ns and call.deadline_ns <= now:
                self._deadlines.expire(call)
                continue
            calls.append(call)
            rows += call.rows
            waited += now - call.started_ns
        return Batch(calls, rows, waited)

    def _attempt(self, batch: Batch) -> None:
        """Run the batch; if that fails, or its outputs cannot be divided, each call alone."""
        now = self._clock.monotonic_ns
        calls = batch.calls
        if not calls:
            batch.result = []
            return
        self.runs += 1
        began = gathered = now()
        try:
            inputs, cells = self._gather(calls)
            gathered = now()
            outputs = self._session.run(inputs)
        except Exception as error:  # noqa: BLE001  (the guard: whose fault it was is found below)
            if len(calls) == 1:
                batch.result = [self._explain(calls[0], error)]
        else:
            if len(calls) == 1 or _divides(outputs, batch.rows):
                batch.result = Outputs(outputs, cells)
            else:
                self._best_rows = 1
        if batch.result is None:
            batch.result = [self._alone(call) for call in calls]
        batch.began_ns = began
        batch.input_ns = gathered - began
        batch.compute_ns = now() - gathered

    def _alone(self, call: Call) -> Outputs | KanameError:
        try:
            inputs, cells = self._gather([call])
            return Outputs(self._session.run(inputs), cells)
        except Exception as error:  # noqa: BLE001  (the guard)
            return self._explain(call, error)

    def _explain(self, call: Call, error: Exception) -> KanameError:
        """The caller's view of a failed run: an unfit value is the request's fault, the rest is the model's."""
        if isinstance(error, KanameError):
            return error
        if isinstance(error, (FloatingPointError, OverflowError, ValueError, TypeError)) and call.tensors is None:
            try:
                check_table(call, self._signature)
            except InvalidInput as unfit:
                return unfit
        failed = ModelFailed(f"the model raised {type(error).__name__}: {_first_line(error)}")
        failed.__cause__ = error
        return failed

    def _settle(self, batch: Batch) -> None:
        calls, result = batch.calls, batch.result
        for call in batch.late:
            if not call.done:
                _drop(call) if call.gone else self._deadlines.expire(call)
        if isinstance(result, Outputs):
            if len(calls) == 1:
                calls[0].end(Answer(result, 0, None))
                return
            answer_all(calls, result, self._clock.monotonic_ns)
            return
        assert result is not None
        for call, own in zip(calls, result, strict=True):
            if isinstance(own, Outputs):
                call.answer(own, 0, None)
            else:
                call.fail(own)

    def release_when_idle(self, release: Callable[[Session], None]) -> None:
        """Hand the session to `release` after the last call that is in the lane has ended."""
        self._on_idle = lambda: self._release(release)
        self._rest()

    def _release(self, release: Callable[[Session], None]) -> None:
        release(self._session)


class Batch:
    """Calls that run together, and what came of them: of all, or of each; None before the run."""

    __slots__ = ("began_ns", "calls", "compute_ns", "input_ns", "late", "result", "rows", "waited_ns")

    def __init__(self, calls: list[Call], rows: int, waited_ns: int) -> None:
        self.calls = calls
        self.late: list[Call] = []
        self.rows = rows
        self.waited_ns = waited_ns
        self.began_ns = 0
        self.input_ns = 0
        self.compute_ns = 0
        self.result: Outputs | list[Outputs | KanameError] | None = None

    def let_go(self, now_ns: int) -> None:
        """Leave out what nobody waits for any more: the threads may have been busy with other models."""
        late = [one for one in self.calls if one.done or one.gone or 0 < one.deadline_ns <= now_ns]
        if late:
            self.late = late
            self.calls = [one for one in self.calls if one not in late]
            self.rows = sum(one.rows for one in self.calls)


def _drop(call: Call) -> None:
    if not call.done:
        call.fail(CallerLeft("the caller left before the answer"))


def _alike(one: Call, other: Call) -> bool:
    if one.tensors is None or other.tensors is None:
        return one.tensors is other.tensors
    return all(a.shape[1:] == b.shape[1:] for a, b in zip(one.tensors, other.tensors, strict=True))


def _divides(outputs: tuple[Tensor, ...], rows: int) -> bool:
    for output in outputs:  # noqa: SIM110  (a generator would cost more than all it looks at)
        if not output.ndim or output.shape[0] != rows:
            return False
    return True


def _first_line(error: Exception) -> str:
    text = str(as_error(error) if isinstance(error, KanameError) else error).strip()
    return text.splitlines()[0][:300] if text else "no message"
