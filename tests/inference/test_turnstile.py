"""A turnstile in front of a real lane on a thread: who passes, who waits, who is refused, and when."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from kaname.call import NORMAL, PRIORITIES, Call, Principal
from kaname.errors import DeadlineExceeded, KanameError, Overloaded
from kaname.inference.lane import Lane
from kaname.inference.resident import Resident
from kaname.inference.turnstile import Turnstile

from .house import version
from .runtime import Asked
from .test_lane import Bench

RUN_MS = 10.0
HIGH, LOW = PRIORITIES.index("high"), PRIORITIES.index("low")


class Turns(threading.Event):
    """Lets one run end at a time, until it is set for good."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = 0
        self.one = threading.Semaphore(0)

    def wait(self, timeout: float | None = None) -> bool:
        self.begun += 1
        return self.one.acquire(timeout=timeout)

    def set(self) -> None:
        super().set()
        self.one.release(10_000)


class Gate:
    """A lane whose runs take `RUN_MS` by the test's clock, and the turnstile in front of it."""

    def __init__(self, best_rows: int = 1) -> None:
        self.bench = Bench(1)
        self.turns = self.bench.runtime.go = Turns()
        self.resident = Resident(version(1))
        bench = self.bench
        self.turnstile = Turnstile(
            self.resident, bench.clock, bench.deadlines, best_rows=best_rows, run_ns=RUN_MS * 1e6
        )
        self.turnstile.bound(queue=50, patience_ms=10 * RUN_MS)
        self.resident.lane = bench.lane(best_rows=best_rows)
        self.enter = self.turnstile.step(self._submit, self.resident, asked=False)
        self.count = 0

    @property
    def lane(self) -> Lane:
        assert self.resident.lane is not None
        return self.resident.lane

    def _submit(self, call: Call) -> None:
        self.lane.submit(call)

    def ask(self, who: str = "a", priority: int = NORMAL, ms: float = 0) -> Asked:
        self.count += 1
        asked = self.bench.ask([float(self.count), 0, 0], ms=ms)
        asked.call.principal = Principal(who, who, may_predict=None, scopes=frozenset(), priority=priority)
        self.enter(asked.call)
        return asked

    def busy(self) -> Asked:
        """A request that is in the runtime until `turn`."""
        asked = self.ask("first")
        self.bench.until(lambda: self.turns.begun)
        return asked

    def turn(self) -> list[float]:
        """Let the run in progress end, `RUN_MS` after the last one; returns who was in it."""
        runs = self.bench.runtime.runs
        before = len(runs)
        self.bench.until(lambda: self.turns.begun > before)
        begun = self.turns.begun
        self.bench.clock.advance(ms=RUN_MS)
        self.turns.one.release()
        self.bench.until(lambda: len(runs) > before and (self.turns.begun > begun or not self.lane.inside))
        return runs[before]

    def finish(self, *asked: Asked) -> None:
        """Let everything run to its end."""
        self.turns.set()
        self.bench.finish(*asked)

    def served(self, turns: int) -> list[float]:
        """Who ran, in order."""
        return [one for _ in range(turns) for one in self.turn()]


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.bench.close()


def test_a_request_passes_while_the_runtime_is_free(gate: Gate) -> None:
    """Without a crowd nothing waits, and the lane holds what is in its run."""
    asked = gate.ask()
    assert (gate.lane.inside, gate.turnstile.waiting) == (1, 0)
    gate.finish(asked)
    asked.check_answer()


def test_the_lane_is_given_one_run_at_a_time(gate: Gate) -> None:
    """The rest waits in front of it and follows run by run, in order."""
    asked = [gate.busy(), *[gate.ask() for _ in range(3)]]
    assert (gate.lane.inside, gate.turnstile.waiting) == (1, 3)
    assert gate.served(4) == [1, 2, 3, 4]
    gate.bench.finish(*asked)
    for one in asked:
        one.check_answer()


def test_a_crowd_is_found_out_and_refused(gate: Gate) -> None:
    """Who would wait for longer than the patience is refused, and from then on whoever would wait at all."""
    asked = [gate.busy(), *[gate.ask() for _ in range(40)]]
    refused = [one for one in asked if one.call.done]
    assert 25 <= len(refused) <= 31
    assert all(isinstance(one.error, Overloaded) for one in refused)
    assert refused[0].error.retry_after_s == 1.0


def test_who_waited_too_long_is_let_go_before_it_is_computed(gate: Gate) -> None:
    """Once the queue stands, those who waited for more than a run are refused, and the next one is fresh."""
    asked = [gate.busy(), *[gate.ask() for _ in range(12)]]
    gate.served(2)
    fresh = gate.ask()
    gate.finish(*asked, fresh)
    fresh.check_answer()
    assert sum(len(run) for run in gate.bench.runtime.runs) < len(asked)


def test_a_modest_caller_passes_a_greedy_one(gate: Gate) -> None:
    """While one caller fills the queue and is refused, another that asks now and then is always answered, next."""
    asked = [gate.busy(), *[gate.ask("greedy") for _ in range(40)]]
    gate.turn()
    for _ in range(20):
        modest = gate.ask("modest")
        for _ in range(2):
            asked += [gate.ask("greedy") for _ in range(5)]
            gate.turn()
        gate.bench.until(lambda: modest.call.done)  # noqa: B023  (called at once)
        modest.check_answer()
    gate.finish(*asked)


def test_low_priority_is_refused_first_and_does_not_starve(gate: Gate) -> None:
    """With both offered all the time most of the runs are the important ones', and some the others'."""
    asked: list[Asked] = [gate.busy()]
    important: list[Asked] = []
    other: list[Asked] = []
    for _ in range(80):
        important.append(gate.ask("a", HIGH))
        other += [gate.ask("b", LOW) for _ in range(3)]
        gate.turn()
    gate.finish(*asked, *important, *other)
    ran = {number for run in gate.bench.runtime.runs for number in run}
    high = sum(one.rows[0][0] in ran for one in important)
    low = sum(one.rows[0][0] in ran for one in other)
    assert high >= 65
    assert 5 <= low <= 15


def test_an_important_request_takes_the_place_of_another_in_a_full_queue(gate: Gate) -> None:
    """`limits.queue` bounds what waits; the least important gives way."""
    gate.turnstile.bound(queue=2, patience_ms=10 * RUN_MS)
    first, one, two = gate.busy(), gate.ask("b", LOW), gate.ask("b", LOW)
    high = gate.ask("a", HIGH)
    assert isinstance(two.error, Overloaded)
    gate.finish(first, one, high)
    for each in (first, one, high):
        each.check_answer()


def test_a_deadline_is_kept_while_waiting(gate: Gate) -> None:
    """A request whose time is over while it waits is told so, and never computed."""
    first, late = gate.busy(), gate.ask(ms=5)
    gate.bench.clock.advance(ms=20)
    gate.bench.deadlines.sweep()
    assert isinstance(late.error, DeadlineExceeded)
    assert gate.turnstile.waiting == 0
    gate.finish(first)
    assert gate.bench.runtime.runs == [[1.0]]


def test_a_caller_who_left_is_passed_over(gate: Gate) -> None:
    """Its place goes to the one behind it."""
    first, gone, last = gate.busy(), gate.ask(), gate.ask()
    gone.call.gone = True
    assert gate.served(2) == [1.0, 3.0]
    gate.finish(first, gone, last)
    last.check_answer()


def test_a_lane_that_fails_every_call_empties_the_queue(gate: Gate) -> None:
    """Calls that end as they enter the lane do not nest: a queue of any length is let go."""
    first, *waiting = gate.busy(), *[gate.ask(str(n)) for n in range(45)]
    gate.enter = gate.turnstile.step(lambda call: call.fail(KanameError("no")), gate.resident, asked=False)
    gate.turn()
    gate.finish(first, *waiting)
    assert gate.turnstile.waiting == 0


def test_a_new_snapshot_keeps_what_was_learnt(gate: Gate) -> None:
    """The path of a version is composed anew; its lane and the limit stay."""
    asked = [gate.busy(), *[gate.ask() for _ in range(3)]]
    gate.turnstile.limit = 0
    gate.enter = gate.turnstile.step(gate._submit, gate.resident, asked=False)
    assert gate.turnstile.limit == 0
    gate.turnstile.limit = 1
    gate.finish(*asked)


def test_batches_fill_before_anybody_waits_twice() -> None:
    """A lane that batches is given a whole batch at a time."""
    gate = Gate(best_rows=4)
    asked = [gate.busy(), *[gate.ask() for _ in range(11)]]
    gate.finish(*asked)
    assert [len(run) for run in gate.bench.runtime.runs][-1] > 1
    for one in asked:
        one.check_answer()
    gate.bench.close()
