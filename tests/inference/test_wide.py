"""Lanes whose runs wait for another machine: side by side, within their time, each call's fault its own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from kaname.clock import SystemClock
from kaname.errors import DeadlineExceeded, InvalidInput, KanameError, Unavailable
from kaname.inference.wide import WideLane
from kaname.resilience.deadlines import Deadlines
from kaname.runtimes.types import Told
from kaname.tensors import Tensor

from .runtime import ROWS, Asked, answer_to, close

Tensors = tuple[Tensor, ...]


class Far:
    """Another machine: `meets` waits until as many runs are there, `refuses` says what a run ends in."""

    def __init__(self, concurrency: int) -> None:
        self.concurrency = concurrency
        self.meeting: threading.Barrier | None = None
        self.refuses: Callable[[Tensor], KanameError | None] = lambda _: None
        self.asked: list[tuple[int, int]] = []
        """Rows and deadline of each run."""
        self.closed = False
        self.trouble: KanameError | None = None

    def run(self, inputs: Tensors) -> Tensors:
        return self.ask(inputs, 0)

    def ask(self, inputs: Tensors, deadline_ns: int) -> Tensors:
        self.asked.append((len(inputs[0]), deadline_ns))
        if self.meeting is not None:
            self.meeting.wait(20)
        error = self.refuses(inputs[0])
        if error is not None:
            raise error
        return inputs[0][:, 0].copy(), answer_to(inputs[0])

    def tell(self, told: Told) -> None:
        """Nobody listens."""

    def close(self) -> None:
        self.closed = True


class Bench:
    """A lane, its loop and what is behind it."""

    def __init__(self, far: Far, best_rows: int = 1) -> None:
        self.loop = asyncio.new_event_loop()
        self.clock = SystemClock()
        self.far = far
        self.deadlines = Deadlines(self.clock, self.loop)
        self.lane = WideLane(
            far,
            ROWS,
            best_rows=best_rows,
            loop=self.loop,
            clock=self.clock,
            deadlines=self.deadlines,
            queue=100,
        )

    def submit(self, *values: float, ms: float = 0) -> list[Asked]:
        asked = [Asked(([value, 0.0, 0.0],), as_table=True, clock=self.clock, ms=ms) for value in values]
        for one in asked:
            self.lane.submit(one.call)
        return asked

    def until(self, look: Callable[[], object]) -> None:
        end = time.monotonic() + 20
        while not look():
            assert time.monotonic() < end, "waited in vain"
            self.loop.run_until_complete(asyncio.sleep(0.001))

    def finish(self, asked: list[Asked]) -> None:
        self.until(lambda: all(one.call.done for one in asked))

    def close(self) -> None:
        self.lane.release_when_idle(close)
        self.until(lambda: self.far.closed)
        self.deadlines.close()
        self.loop.close()


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    """Makes benches; each is closed, with its session, at the end."""
    made: list[Bench] = []

    def make(concurrency: int = 4, best_rows: int = 1) -> Bench:
        made.append(Bench(Far(concurrency), best_rows))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_as_many_runs_as_connections_go_on_at_once(bench: Callable[..., Bench]) -> None:
    """Four runs that wait for each other all end, and no more than four are there at a time."""
    b = bench(concurrency=4)
    b.far.meeting = threading.Barrier(4)
    asked = b.submit(*range(8))
    b.finish(asked)
    for one in asked:
        one.check_answer()
    assert len(b.far.asked) == 8


def test_rows_share_a_run_only_where_they_may(bench: Callable[..., Bench]) -> None:
    """Without a batch size each request is a run of its own; with one, what waits goes together."""
    alone, together = bench(best_rows=1), bench(concurrency=1, best_rows=8)
    alone.finish(alone.submit(*range(6)))
    assert [rows for rows, _ in alone.far.asked] == [1] * 6
    together.finish(together.submit(*range(6)))
    assert sum(rows for rows, _ in together.far.asked) == 6
    assert len(together.far.asked) < 6


def test_a_run_has_the_time_of_its_calls(bench: Callable[..., Bench]) -> None:
    """The deadline of the request is that of the run."""
    b = bench()
    (asked,) = b.submit(1.0, ms=5_000)
    b.finish([asked])
    assert b.far.asked == [(1, asked.call.deadline_ns)]


def test_a_call_ends_at_its_deadline_whatever_the_machine_does(bench: Callable[..., Bench]) -> None:
    """The answer that comes later is dropped, and the lane goes on."""
    b = bench(concurrency=1)
    b.far.meeting = threading.Barrier(2)
    late = b.submit(1.0, ms=20)
    b.finish(late)
    assert isinstance(late[0].error, DeadlineExceeded)
    b.far.meeting.wait(20)
    b.far.meeting = None
    b.finish(b.submit(2.0))


def test_one_bad_row_does_not_harm_the_others(bench: Callable[..., Bench]) -> None:
    """What is refused together is asked one by one: the bad row's caller is told, the others are answered."""
    b = bench(concurrency=1, best_rows=8)
    b.far.refuses = lambda rows: InvalidInput("negative") if (rows < 0).any() else None
    asked = b.submit(1.0, -1.0, 3.0)
    b.finish(asked)
    assert isinstance(asked[1].error, InvalidInput)
    asked[0].check_answer()
    asked[2].check_answer()


def test_what_is_away_is_not_asked_row_by_row(bench: Callable[..., Bench]) -> None:
    """A run that finds nobody is one attempt for all its calls."""
    b = bench(concurrency=1, best_rows=8)
    b.far.refuses = lambda _: Unavailable("nobody is there")
    asked = b.submit(1.0, 2.0, 3.0)
    b.finish(asked)
    assert all(isinstance(one.error, Unavailable) for one in asked)
    assert sum(rows for rows, _ in b.far.asked) == 3


def test_readiness_is_the_machines(bench: Callable[..., Bench]) -> None:
    """The lane says why it cannot answer, in the words of its session."""
    b = bench()
    assert b.lane.trouble is None
    b.far.trouble = Unavailable("gone")
    assert b.lane.trouble is b.far.trouble


def test_the_session_closes_after_the_last_answer(bench: Callable[..., Bench]) -> None:
    """Closing waits for what is under way."""
    b = bench(concurrency=2)
    b.far.meeting = threading.Barrier(3)
    asked = b.submit(1.0, 2.0)
    b.until(lambda: len(b.far.asked) == 2)
    b.lane.release_when_idle(close)
    assert not b.far.closed
    b.far.meeting.wait(20)
    b.finish(asked)
    assert b.far.closed
