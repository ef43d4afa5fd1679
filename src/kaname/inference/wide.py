"""A lane whose runs wait for another machine: as many go on side by side as its session has connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from kaname.call import Call, Outputs
from kaname.clock import Clock
from kaname.errors import InvalidInput, KanameError
from kaname.inference.crew import Crew
from kaname.inference.gather import strict_context
from kaname.inference.lane import Batch, Lane, Ran
from kaname.resilience.deadlines import Deadlines
from kaname.runtimes.types import Elsewhere, Session
from kaname.signature import Signature
from kaname.telemetry.tracecontext import OUTGOING

Trace = Callable[[Sequence[Call]], Mapping[str, str]]
"""The headers that tell the trace of a run's calls; called on its thread."""


class WideLane(Lane):
    """Has threads of its own, which sleep until answers come; all methods belong to the loop's thread, as a Lane's do.

    A run has time until the latest deadline of its calls. Requests that share a run are asked one by one when the other
    machine refuses them together, and only then: what it cannot answer now is not asked more often for that.
    """

    def __init__(
        self,
        session: Elsewhere,
        signature: Signature,
        *,
        best_rows: int,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        deadlines: Deadlines,
        queue: int,
        max_delay_ms: float = 0.0,
        ran: Ran | None = None,
        trace: Trace | None = None,
    ) -> None:
        """`trace`: what tells the other machine the trace of a run."""
        super().__init__(
            session,
            signature,
            best_rows=best_rows,
            loop=loop,
            clock=clock,
            deadlines=deadlines,
            crew=Crew(session.concurrency, loop),
            queue=queue,
            max_delay_ms=max_delay_ms,
            ran=ran,
        )
        self._elsewhere = session
        self._trace = trace
        self._going = 0

    @property
    def trouble(self) -> KanameError | None:
        """See `Lane.trouble`."""
        return self._elsewhere.trouble

    @property
    def width(self) -> int:
        """See `Lane.width`."""
        return self._elsewhere.concurrency

    def _post(self, batch: Batch) -> None:
        assert self._crew is not None
        calls = len(batch.calls)
        self._going += 1
        self._running += calls
        self._engaged = self._going >= self._elsewhere.concurrency
        self._crew.post(lambda: strict_context().run(self._on_own_thread, batch, calls))
        if self._pending and not (self._engaged or self._scheduled):
            self._schedule()

    def _on_own_thread(self, batch: Batch, calls: int) -> None:
        assert self._crew is not None
        batch.let_go(self._clock.monotonic_ns())
        self._attempt(batch)
        self._crew.back(lambda: self._ended(batch, calls))

    def _ended(self, batch: Batch, calls: int) -> None:
        self._going -= 1
        self._running -= calls
        self._engaged = self._going >= self._elsewhere.concurrency
        self._tell(batch)
        self._holds += 1  # until all of it is settled: the session stays
        self._settle(batch)
        self._holds -= 1
        self._rest()

    def _attempt(self, batch: Batch) -> None:
        now = self._clock.monotonic_ns
        calls = batch.calls
        if not calls:
            batch.result = []
            return
        self.runs += 1
        began = gathered = now()
        if self._trace is not None:
            OUTGOING.set(self._trace(calls))
        try:
            inputs, cells = self._gather(calls)
            gathered = now()
            batch.result = Outputs(self._elsewhere.ask(inputs, _latest(calls)), cells)
        except Exception as error:  # noqa: BLE001  (the guard: whose fault it was is found below)
            batch.result = self._results(calls, error)
        batch.began_ns = began
        batch.input_ns = gathered - began
        batch.compute_ns = now() - gathered

    def _results(self, calls: Sequence[Call], error: Exception) -> list[Outputs | KanameError]:
        """Of each call of a run that failed."""
        ours = not isinstance(error, KanameError) or isinstance(error, InvalidInput)
        if len(calls) > 1 and ours:
            return [self._alone(call) for call in calls]
        return [self._explain(call, error) for call in calls]

    def _alone(self, call: Call) -> Outputs | KanameError:
        try:
            inputs, cells = self._gather([call])
            return Outputs(self._elsewhere.ask(inputs, call.deadline_ns), cells)
        except Exception as error:  # noqa: BLE001  (the guard)
            return self._explain(call, error)

    def _release(self, release: Callable[[Session], None]) -> None:
        super()._release(release)
        assert self._crew is not None
        self._crew.close()


def _latest(calls: Sequence[Call]) -> int:
    """The last deadline; 0 where one has none."""
    deadlines = [call.deadline_ns for call in calls]
    return max(deadlines) if all(deadlines) else 0
