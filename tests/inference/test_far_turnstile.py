"""A turnstile in front of a remote's lane: a remote that is slow, or hangs, does not fill the queue."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from kaname.call import NORMAL, PRIORITIES, Principal
from kaname.errors import KanameError, Overloaded
from kaname.inference.resident import Resident
from kaname.inference.turnstile import Turnstile
from kaname.inference.wide import WideLane
from kaname.resilience.standing import LEAST_PATIENCE_NS
from kaname.runtimes.types import Told
from kaname.tensors import Tensor

from .house import version
from .runtime import ROWS, Asked, answer_to
from .test_lane import Bench

Tensors = tuple[Tensor, ...]
RUN_MS = 10.0
PATIENCE_MS = LEAST_PATIENCE_NS / 1e6
CONNECTIONS = 4


class Far:
    """Another machine that answers as often as `turns` says."""

    def __init__(self) -> None:
        self.concurrency = CONNECTIONS
        self.turns = threading.Semaphore(0)
        self.begun = 0
        self.ended = 0
        self.trouble: KanameError | None = None

    def run(self, inputs: Tensors) -> Tensors:
        return self.ask(inputs, 0)

    def ask(self, inputs: Tensors, deadline_ns: int) -> Tensors:
        self.begun += 1
        self.turns.acquire(timeout=20)
        self.ended += 1
        return inputs[0][:, 0].copy(), answer_to(inputs[0])

    def tell(self, told: Told) -> None:
        """Nobody listens."""

    def close(self) -> None:
        """Nothing is open."""


class Gate:
    """A remote that took `RUN_MS` when it was imported, the lane to it, and the turnstile in front of that."""

    def __init__(self, best_rows: int = 1, queue: int = 1000) -> None:
        self.bench = bench = Bench(0)
        self.far = Far()
        self.resident = Resident(version(1))
        self.turnstile = Turnstile(
            self.resident, bench.clock, bench.deadlines, best_rows=best_rows, run_ns=RUN_MS * 1e6, far=True
        )
        self.turnstile.bound(queue=queue, patience_ms=None)
        self.lane = WideLane(
            self.far,
            ROWS,
            best_rows=best_rows,
            loop=bench.loop,
            clock=bench.clock,
            deadlines=bench.deadlines,
            queue=queue,
        )
        self.resident.lane = self.lane
        self.enter = self.turnstile.step(self.lane.submit, self.resident, asked=False)
        self.count = 0

    def ask(self, who: str = "a", priority: int = NORMAL) -> Asked:
        self.count += 1
        asked = self.bench.ask([float(self.count), 0, 0])
        asked.call.principal = Principal(who, who, may_predict=None, scopes=frozenset(), priority=priority)
        self.enter(asked.call)
        return asked

    def crowd(self, count: int) -> list[Asked]:
        """As many requests, of which the first are with the remote."""
        asked = [self.ask() for _ in range(count)]
        self.until(lambda: self.far.begun - self.far.ended >= min(count, CONNECTIONS))
        return asked

    def turn(self, ms: float = RUN_MS) -> None:
        """Every run that is there ends, `ms` after the last ones did."""
        running = self.far.begun - self.far.ended
        self.bench.clock.advance(ms=ms)
        self.far.turns.release(running)
        begun = self.far.begun
        self.until(lambda: self.far.begun >= begun + min(running, self.turnstile.waiting) or not self.lane.inside)

    def until(self, look: Callable[[], object]) -> None:
        self.bench.until(look)

    def finish(self, asked: list[Asked]) -> None:
        self.far.turns.release(10_000)
        self.bench.finish(*asked)

    def close(self) -> None:
        self.far.turns.release(10_000)
        self.until(lambda: not self.lane.inside)
        self.lane.release_when_idle(lambda _: None)
        self.bench.close()


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.close()


def refused(asked: list[Asked]) -> list[Asked]:
    """Those who were told to come back later."""
    found = [one for one in asked if one.call.done and isinstance(one.outcomes[0], Overloaded)]
    assert all(one.error.retry_after_s == 1.0 for one in found)
    return found


def test_as_many_pass_as_there_are_connections(gate: Gate) -> None:
    """The rest waits in front of the lane, and follows as answers come."""
    asked = gate.crowd(10)
    assert (gate.lane.inside, gate.turnstile.waiting) == (4, 6)
    gate.turn()
    gate.until(lambda: gate.turnstile.waiting == 2)
    gate.finish(asked)
    for one in asked:
        one.check_answer()


def test_side_by_side_is_faster_than_one_by_one(gate: Gate) -> None:
    """A crowd that four connections answer within the patience is not refused, as one connection would have to."""
    within = int(PATIENCE_MS / RUN_MS) * CONNECTIONS - CONNECTIONS
    asked = gate.crowd(within)
    assert not refused(asked)
    gate.finish(asked)


def test_more_than_can_be_answered_in_time_is_refused(gate: Gate) -> None:
    """Who would wait for longer than the patience hears so at once; the queue has room for a thousand."""
    asked = gate.crowd(400)
    assert gate.turnstile.waiting < 110
    assert len(refused(asked)) > 280
    gate.finish(asked)


def test_a_remote_that_hangs_does_not_fill_the_queue(gate: Gate) -> None:
    """While no answer comes a newcomer is refused after the patience, and those who waited that long are let go; one
    request may wait, so that somebody finds out when the remote is back."""
    asked = gate.crowd(30)
    assert not refused(asked)
    gate.bench.clock.advance(ms=PATIENCE_MS + 2 * RUN_MS)
    gate.until(lambda: not gate.turnstile.waiting)
    assert len(refused(asked)) == 30 - CONNECTIONS
    late = [gate.ask() for _ in range(500)]
    assert gate.turnstile.waiting == 1
    assert len(refused(late)) == 499
    gate.finish([*asked, *late])
    assert len(refused([*asked, *late])) == 525


def test_a_pause_within_the_patience_refuses_nobody(gate: Gate) -> None:
    """A remote that collects its garbage for a tenth of a second loses nothing."""
    asked = gate.crowd(30)
    gate.bench.clock.advance(ms=100)
    asked += [gate.ask() for _ in range(10)]
    assert not refused(asked)
    gate.finish(asked)
    for one in asked:
        one.check_answer()


def test_slowness_is_no_reason_for_more_patience(gate: Gate) -> None:
    """Where a remote has become fifty times slower no more wait than about a run answers."""
    for _ in range(40):
        asked = gate.crowd(1)
        gate.turn(ms=50 * RUN_MS)
        gate.bench.finish(*asked)
    asked = gate.crowd(200)
    assert gate.turnstile.waiting <= 1.25 * CONNECTIONS
    gate.finish(asked)


def test_the_important_are_let_in_while_it_hangs(gate: Gate) -> None:
    """Each priority has its own line."""
    low, high = PRIORITIES.index("low"), PRIORITIES.index("high")
    asked = gate.crowd(CONNECTIONS)
    waiting = [gate.ask("lows", low) for _ in range(20)]
    gate.bench.clock.advance(ms=PATIENCE_MS + 2 * RUN_MS)
    first = gate.ask("highs", high)
    gate.until(lambda: gate.turnstile.waiting == 1)
    assert not first.call.done
    assert len(refused(waiting)) == 20
    gate.finish([*asked, first])
    first.check_answer()


def test_batches_share_the_connections() -> None:
    """A remote that takes four rows a request is given what fills its connections, and never fewer than those."""
    gate = Gate(best_rows=4)
    asked = gate.crowd(60)
    gate.finish(asked)
    for one in asked:
        one.check_answer()
    assert gate.turnstile.limit >= CONNECTIONS
    gate.close()
