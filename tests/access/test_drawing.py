"""Allowances of a fleet as its workers see them: never more than there is and what they held, never less for long."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaname.access.drawing import AHEAD_S, Drawing, seconds_left
from kaname.access.limiter import TokenBucket
from kaname.clock import ManualClock
from kaname.errors import TooLarge
from kaname.storage.shared.memory import MemoryStore
from kaname.storage.shared.types import Draw, Drawn


class Link:
    """Shares whose answers wait until they are delivered, as over a network; may be cut."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.answers = True
        self.deaf = False
        self.draws = 0
        self._waiting: list[Callable[[], None]] = []

    def draw(self, draw: Draw, then: Callable[[Drawn | None], None]) -> None:
        self.draws += 1
        if self.deaf:
            self._waiting.append(lambda: then(None))
            return
        (found,) = self.store.draw([draw])
        self._waiting.append(lambda: then(found))

    def deliver(self) -> None:
        """Everything that is on its way arrives."""
        while self._waiting:
            self._waiting.pop(0)()


class Worker:
    """Asks a drawing as the step in front of admission does."""

    def __init__(
        self, store: MemoryStore, clock: ManualClock, rate: float, burst: int, *, alone_rate: float = 0.001
    ) -> None:
        self.link = Link(store)
        self.drawing = Drawing("b", rate, burst, self.link, clock, TokenBucket(alone_rate, burst, clock).take)

    def ask(self, rows: int) -> float:
        """Rows granted at once or after what is drawn has come: 0.0, else the seconds to wait."""
        while not self.drawing.ready(rows):
            asked = list[bool]()
            self.drawing.wait(rows, lambda asked=asked: asked.append(True))  # type: ignore[misc]  # bound now
            self.link.deliver()
            assert asked
        return self.drawing.take(rows)


def fleet(rate: float, burst: int, workers: int = 2) -> tuple[ManualClock, list[Worker]]:
    clock = ManualClock()
    store = MemoryStore(clock)
    return clock, [Worker(store, clock, rate, burst) for _ in range(workers)]


STEPS = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 40), st.integers(0, 50)), max_size=120)


@settings(max_examples=200, deadline=None)
@given(STEPS, st.integers(1, 400))
def test_a_fleet_never_grants_more_than_the_limit_and_what_its_workers_hold(
    steps: list[tuple[int, int, int]], rate: int
) -> None:
    """Over every window of any traffic: rate × time + burst + workers × what is drawn ahead."""
    clock, workers = fleet(rate, 40, workers=3)
    grants, ahead, now = list[tuple[int, int]](), 3 * min(int(rate * AHEAD_S), 40), 0
    for who, rows, ms in steps:
        clock.advance(ms=ms)
        now += ms
        if workers[who].ask(rows) == 0.0:
            grants.append((now, rows))
        if rows % 3:
            workers[who].link.deliver()
    for first, (begin, _) in enumerate(grants):
        granted = 0
        for at, rows in grants[first:]:
            granted += rows
            assert granted <= 40 + rate * (at - begin) / 1000 + ahead + 1


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 15), st.lists(st.tuples(st.integers(1, 10), st.integers(0, 400)), max_size=60))
def test_slow_rates_are_exact_and_agree_with_one_bucket(rate: int, steps: list[tuple[int, int]]) -> None:
    """Below 20 rows per second nothing is drawn ahead: two workers together grant what one bucket would."""
    clock, workers = fleet(rate, 10)
    bucket = TokenBucket(rate, 10, clock)
    for position, (rows, ms) in enumerate(steps):
        clock.advance(ms=ms)
        asked = workers[position % 2].ask(rows)
        expected = bucket.take(rows)
        if min(asked, expected) == 0.0 < max(asked, expected) < 0.002:
            return  # rounding to whole milliseconds decided; from here on they may differ by a row
        assert (asked == 0.0) is (expected == 0.0)
        assert asked <= expected + 0.002, (
            "what was seen twenty milliseconds ago may tell too short a wait, never too long"
        )


def test_most_requests_find_their_rows_at_hand() -> None:
    """A thousand rows per second, one by one: a draw for every twenty-five of them at most."""
    clock, (worker, _) = fleet(1_000, 1_000)
    for _ in range(1_000):
        clock.advance(ms=1)
        assert worker.ask(1) == 0.0
        worker.link.deliver()
    assert worker.link.draws <= 45


def test_callers_that_wait_together_are_served_by_one_draw() -> None:
    """What all of them want is drawn at once."""
    _, (worker, _) = fleet(10, 100)
    served = list[int]()

    def again(i: int) -> None:
        assert worker.drawing.ready(1)
        served.append(i)

    for i in range(20):
        assert not worker.drawing.ready(2)
        worker.drawing.wait(2, lambda i=i: again(i))  # type: ignore[misc]  # bound now
    worker.link.deliver()
    assert served == [*range(20)] or len(served) == 20
    assert worker.link.draws <= 2


def test_a_refusal_says_when_and_asks_nobody() -> None:
    """The wait is exact; the store is asked again after twenty milliseconds at the earliest."""
    clock, (worker, other) = fleet(10, 10)
    assert other.ask(10) == 0.0
    wait_s = worker.ask(4)
    assert wait_s == pytest.approx(0.4, abs=0.001)
    draws = worker.link.draws
    assert worker.ask(4) > 0
    assert worker.link.draws == draws
    clock.advance(ms=30)
    assert worker.ask(4) == pytest.approx(0.37, abs=0.002)
    assert worker.link.draws == draws + 1
    clock.advance(ms=wait_s * 1000 + 1)
    assert worker.ask(4) == 0.0
    with pytest.raises(TooLarge):
        worker.ask(11)


def test_without_an_answer_the_node_decides_alone_and_asks_again_soon() -> None:
    """A question that nobody answers; then a store that is known to be dead; then it is back."""
    clock, (worker, _) = fleet(10, 10)
    worker.link.deaf = True
    assert [worker.ask(5) == 0.0 for _ in range(3)] == [True, True, False]
    worker.link.answers = False
    assert worker.ask(1) > 0
    worker.link.answers, worker.link.deaf = True, False
    clock.advance(ms=100)
    assert worker.ask(10) == 0.0


def day(store: MemoryStore, clock: ManualClock, most: int) -> Worker:
    """A worker that draws from a day."""
    return Worker(store, clock, 0.0, most)


def test_a_day_is_spent_for_all_and_begins_anew_at_midnight() -> None:
    """Two workers, one day: refused until midnight UTC, then granted again."""
    clock = ManualClock()
    store = MemoryStore(clock)
    one, other = day(store, clock, 100), day(store, clock, 100)
    assert [one.ask(60), other.ask(40)] == [0.0, 0.0]
    assert one.ask(1) == other.ask(1) == pytest.approx(seconds_left(clock))
    clock.advance(ms=seconds_left(clock) * 1000 + 1)
    assert one.ask(100) == 0.0
    assert other.ask(1) > 80_000


def test_what_a_node_granted_alone_is_taken_from_the_day_when_the_store_is_back() -> None:
    """Nothing of the quota is given twice because of an hour without Redis."""
    clock = ManualClock()
    store = MemoryStore(clock)
    one, other = day(store, clock, 100), day(store, clock, 100)
    one.link.answers = False
    assert one.ask(70) == 0.0
    one.link.answers = True
    assert one.ask(10) == 0.0
    assert other.ask(30) > 0
    assert other.ask(20) == 0.0
