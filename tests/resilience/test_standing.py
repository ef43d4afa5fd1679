"""How long requests may wait, on a clock that the test moves."""

from __future__ import annotations

import random

import pytest

from kaname.resilience.standing import BRISK_RUNS, EASY_RUNS, PATIENT_RUNS, SECOND_NS, Standing

MS = 1_000_000
RUN = 5 * MS


class Queue:
    """A server of one request per run in front of which requests wait, driven by arrival times alone."""

    def __init__(self, standing: Standing) -> None:
        self.standing = standing
        self.free_at = 0
        self.answered: list[int] = []
        self.refused = 0

    def offer(self, now: int) -> None:
        wait = max(0, self.free_at - now)
        if self.standing.offered(now, wait, RUN, RUN):
            self.free_at = max(self.free_at, now) + RUN
            self.answered.append(self.free_at - now)
        else:
            self.refused += 1


def _arrivals(load: float, seconds: float, seed: int) -> list[int]:
    draw, at, found = random.Random(seed), 0.0, []
    while at < seconds * SECOND_NS:
        at += draw.expovariate(load / RUN)
        found.append(int(at))
    return found


def _run(load: float, seconds: float = 60.0) -> Queue:
    queue = Queue(Standing())
    for now in _arrivals(load, seconds, seed=3):
        queue.offer(now)
    return queue


@pytest.mark.parametrize("load", [2.5, 5.0, 20.0])
def test_under_heavy_load_the_server_stays_busy_and_answers_stay_quick(load: float) -> None:
    """At several times the capacity nine tenths of it are used, and 99 of 100 answers come within 3 runs."""
    queue = _run(load)
    late = queue.answered[len(queue.answered) // 10 :]  # without the time until the queue was found to stand
    assert len(queue.answered) * RUN > 0.9 * 60 * SECOND_NS
    assert sorted(late)[int(len(late) * 0.99)] <= 3 * RUN
    assert queue.refused > 0


def test_a_little_too_much_is_answered_with_a_little_more_patience() -> None:
    """At 1.3 times the capacity nine tenths of it are used too, by a queue that is a few runs longer."""
    queue = _run(1.3)
    late = queue.answered[len(queue.answered) // 2 :]
    assert len(queue.answered) * RUN > 0.9 * 60 * SECOND_NS
    assert sorted(late)[int(len(late) * 0.99)] <= (EASY_RUNS + 1) * RUN


@pytest.mark.parametrize("load", [0.3, 0.7, 0.9])
def test_bursts_below_capacity_are_waited_out(load: float) -> None:
    """Random arrivals at less than the capacity are all answered."""
    assert _run(load).refused == 0


def test_clients_who_wait_for_their_answers_are_not_refused() -> None:
    """As many as there are patient runs may stand in line for good: each asks again only when it was answered."""
    standing = Standing()
    for turn in range(1000):
        assert standing.offered(turn * RUN, (PATIENT_RUNS - 1) * RUN, RUN, RUN)


def test_a_queue_that_stands_is_over_when_less_is_offered() -> None:
    """After the storm, long waits are accepted again; during it they are not, however often it is asked."""
    standing = Standing(patience_ns=10 * RUN)
    assert not standing.offered(0, 11 * RUN, RUN, RUN)
    assert standing.longest_ns(RUN) == BRISK_RUNS * RUN
    now = 0
    for _ in range(500):
        now += RUN // 5
        standing.offered(now, 2 * RUN, RUN, RUN)
    assert standing.longest_ns(RUN) < 10 * RUN
    for _ in range(300):
        now += 2 * RUN
        standing.offered(now, 0, RUN, RUN)
    assert standing.longest_ns(RUN) == 10 * RUN
