"""The circuit breaker against the table of its states."""

from __future__ import annotations

import threading

from kaname.clock import ManualClock
from kaname.resilience.breaker import Breaker, BreakerRule, State

RULE = BreakerRule(window=10, least_calls=4, failure_share=0.5, slow_ms=100, wait_ms=1_000, trials=2)


def opened() -> tuple[Breaker, ManualClock, list[State]]:
    """A breaker that has just opened."""
    clock, states = ManualClock(), list[State]()
    breaker = Breaker(clock, RULE, states.append)
    for _ in range(4):
        assert breaker.allows()
        breaker.failed()
    return breaker, clock, states


def test_few_failures_open_nothing_and_half_of_enough_do() -> None:
    """Three of three are too few to judge; two of four are enough; what was long ago is forgotten."""
    breaker = Breaker(ManualClock(), RULE)
    for _ in range(3):
        breaker.failed()
    assert breaker.state == "closed"
    breaker = Breaker(ManualClock(), RULE)
    for ok in (True, True, False, False):
        (breaker.succeeded if ok else breaker.failed)()
    assert breaker.state == "open"
    breaker = Breaker(ManualClock(), RULE)
    for ok in [True] * 3 + [False] * 2 + [True] * 20 + [False] * 4:
        (breaker.succeeded if ok else breaker.failed)()
    assert breaker.state == "closed"


def test_slow_successes_count_as_failures() -> None:
    """A call that nobody could wait for has not helped."""
    breaker = Breaker(ManualClock(), RULE)
    for _ in range(4):
        breaker.succeeded(took_ms=101)
    assert breaker.state == "open"


def test_an_open_one_lets_nothing_pass_until_its_wait_is_over_and_then_two_trials() -> None:
    """Not a moment earlier, and not a third."""
    breaker, clock, states = opened()
    clock.advance(ms=999)
    assert not breaker.allows()
    clock.advance(ms=1)
    assert [breaker.allows() for _ in range(3)] == [True, True, False]
    assert states == ["open", "half open"]


def test_good_trials_close_it_and_a_bad_one_opens_it_anew() -> None:
    """After closing it judges afresh; after opening it waits as long again."""
    breaker, clock, states = opened()
    clock.advance(ms=1_000)
    for _ in range(2):
        assert breaker.allows()
        breaker.succeeded()
    assert breaker.state == "closed"
    for _ in range(3):
        breaker.failed()
    assert breaker.state == "closed"
    breaker.failed()
    clock.advance(ms=1_000)
    for ok in (True, False):
        assert breaker.allows()
        (breaker.succeeded if ok else breaker.failed)()
    assert states == ["open", "half open", "closed", "open", "half open", "open"]
    assert not breaker.allows()


def test_a_late_failure_of_a_call_of_before_changes_nothing() -> None:
    """It belongs to a time that has been judged."""
    breaker, clock, states = opened()
    breaker.failed()
    breaker.succeeded()
    clock.advance(ms=1_000)
    assert breaker.allows()
    assert states == ["open", "half open"]


def test_threads_never_pass_more_trials_than_allowed() -> None:
    """Eight threads at the same door."""
    breaker, clock, _ = opened()
    clock.advance(ms=1_000)
    passed, start = list[bool](), threading.Barrier(8)

    def ask() -> None:
        start.wait()
        passed.extend(breaker.allows() for _ in range(50))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(passed) == RULE.trials


def test_a_calm_breaker_need_not_be_asked_and_says_when_it_must() -> None:
    """It is calm until it is told of a call; an open one is due when its wait is over, and while it tries."""
    breaker, clock, _ = opened()
    assert Breaker(clock, RULE).calm
    assert not Breaker(clock, RULE).due
    assert (breaker.calm, breaker.due) == (False, False)
    clock.advance(ms=1_000)
    assert breaker.due
    for _ in range(RULE.trials):
        assert breaker.allows()
        breaker.succeeded()
    assert (breaker.state, breaker.calm, breaker.due) == ("closed", True, False)
    breaker.failed()
    assert not breaker.calm
