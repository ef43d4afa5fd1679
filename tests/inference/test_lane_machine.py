"""Lanes under random traffic: whatever happens to its batch mates, every call ends once, as if it were alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kaname.call import Answer, Call, Outcome
from kaname.clock import ManualClock
from kaname.errors import CallerLeft, DeadlineExceeded, InvalidInput, ModelFailed, Overloaded
from kaname.inference.crew import Crew
from kaname.inference.lane import Lane
from kaname.resilience.deadlines import Deadlines
from kaname.runtimes.types import Session

from .runtime import POISON, ROWS, TOO_LARGE, Asked, RowRuntime, close

BEST, QUEUE = 4, 12
kinds = st.sampled_from(["good"] * 6 + ["poisoned", "unfit"])


class InlineLane(RuleBasedStateMachine):
    """A lane that runs on the event loop."""

    threads = 0

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = ManualClock()
        self.deadlines = Deadlines(self.clock, self.loop)
        self.crew = Crew(self.threads, self.loop) if self.threads else None
        self.runtime = RowRuntime()
        self.asked: list[Asked] = []
        self.order: list[Asked] = []
        self.closed = 0
        self.split_always = True
        self.lane = Lane(
            self.runtime,
            ROWS,
            best_rows=BEST,
            loop=self.loop,
            clock=self.clock,
            deadlines=self.deadlines,
            crew=self.crew,
            queue=QUEUE,
        )

    def spin(self, until: Callable[[], bool]) -> None:
        """Run the loop until `until` holds."""
        end = time.monotonic() + 20
        while not until():
            assert time.monotonic() < end, "the lane is wedged"
            self.loop.run_until_complete(asyncio.sleep(0.0005 if self.threads else 0))

    def idle(self) -> bool:
        return not (self.lane.waiting or self.lane._running or self.lane._scheduled)

    @precondition(lambda self: not self.closed)
    @rule(
        rows=st.integers(1, 6),
        as_table=st.booleans(),
        kind=kinds,
        bad=st.integers(0, 5),
        ms=st.sampled_from([0, 0, 0, 50, 5000]),
    )
    def submit(self, rows: int, as_table: bool, kind: str, bad: int, ms: float) -> None:
        """One more call; the number of the call is the first cell of its rows."""
        number = float(len(self.asked))
        cells = [[number, float(r), number + r / 8] for r in range(rows)]
        if kind == "poisoned":
            cells[bad % rows][1] = POISON
        elif kind == "unfit":
            as_table = True  # a tensor cannot hold it in the first place
            cells[bad % rows][2] = TOO_LARGE
        asked = Asked(cells, as_table=as_table, clock=self.clock, ms=ms)

        def note(_: Call, outcome: Outcome) -> Outcome:
            self.order.append(asked)
            return outcome

        asked.call.back(note)
        waited = self.lane.waiting
        self.asked.append(asked)
        self.lane.submit(asked.call)
        if waited >= QUEUE and self.lane.waiting <= waited and asked.call.done:
            assert isinstance(asked.error, Overloaded)
        else:
            assert not asked.call.done

    @precondition(lambda self: bool(self.asked))
    @rule(which=st.integers(0, 1000))
    def leave(self, which: int) -> None:
        """A caller closes its connection."""
        self.asked[which % len(self.asked)].call.gone = True

    @rule(ms=st.sampled_from([1, 60, 6000]))
    def wait(self, ms: float) -> None:
        """Time passes; the wheel turns."""
        self.clock.advance(ms=ms)
        self.deadlines.sweep()

    @rule()
    def turn(self) -> None:
        """The loop goes round once."""
        self.loop.run_until_complete(asyncio.sleep(0))

    @rule()
    def finish(self) -> None:
        """Everything that was asked is answered."""
        self.runtime.go.set()
        self.spin(self.idle)
        for asked in self.asked:
            assert asked.call.done, "a call was forgotten"

    @precondition(lambda self: self.split_always)
    @rule()
    def stop_splitting(self) -> None:
        """From now on the outputs of a batch cannot be divided."""
        self.split_always = self.runtime.splits = False

    @precondition(lambda self: not self.closed)
    @rule()
    def close(self) -> None:
        """Another version has taken over: the session goes after the last call."""

        def release(session: Session) -> None:
            assert all(asked.call.done for asked in self.asked)
            session.close()

        self.closed = 1
        self.lane.release_when_idle(release)

    @invariant()
    def every_call_ends_once_with_its_own_rows(self) -> None:
        for asked in self.asked:
            assert len(asked.outcomes) == int(asked.call.done)
            if asked.call.done:
                self.check(asked)

    def check(self, asked: Asked) -> None:
        (outcome,) = asked.outcomes
        if isinstance(outcome, Answer):
            assert not asked.poisoned
            assert not asked.unfit
            if self.split_always:
                asked.check_answer()
            return
        if asked.poisoned and type(outcome) is ModelFailed:
            assert "RuntimeError: cannot compute" in outcome.message
        elif asked.unfit and type(outcome) is InvalidInput:
            assert outcome.where is not None
            assert outcome.where.endswith(".f2")
        elif type(outcome) is DeadlineExceeded:
            assert asked.call.deadline_ns <= self.clock.monotonic_ns()
        elif type(outcome) is CallerLeft:
            assert asked.call.gone
        else:
            assert isinstance(outcome, Overloaded)

    @invariant()
    def no_run_exceeds_the_best_batch(self) -> None:
        for run in self.runtime.runs:
            assert len(run) <= BEST or len(set(run)) == 1, "more than the best size, and not a single call"

    @invariant()
    def answers_come_in_the_order_of_the_calls(self) -> None:
        answered = [a.rows[0][0] for a in self.order if a.outcomes and isinstance(a.outcomes[0], Answer)]
        assert answered == sorted(answered)
        ran = [number for run in self.runtime.runs for number in dict.fromkeys(run)]
        once = list(dict.fromkeys(ran))
        assert once == sorted(once), "a call overtook another"

    def teardown(self) -> None:
        self.runtime.go.set()
        self.spin(self.idle)
        assert all(len(asked.outcomes) == 1 for asked in self.asked)
        if not self.closed:
            self.lane.release_when_idle(close)
        self.spin(lambda: self.runtime.closed == 1)
        assert not any(handle for handle in self.deadlines._buckets.values()), "an ended call is still watched"
        self.deadlines.close()
        if self.crew is not None:
            self.crew.close()
        self.loop.close()


class LaneOnThreads(InlineLane):
    """A lane that runs on worker threads, with a runtime that may take its time."""

    threads = 2

    @rule()
    def hold(self) -> None:
        """The next run stays in the runtime; calls accumulate behind it."""
        self.runtime.go.clear()

    @rule()
    def let_go(self) -> None:
        self.runtime.go.set()


InlineLane.TestCase.settings = settings(
    max_examples=80, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
LaneOnThreads.TestCase.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestInlineLane = InlineLane.TestCase
TestLaneOnThreads = LaneOnThreads.TestCase
