"""The timer wheel: calls that wait are failed when their time is over, and not before."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaname.call import Call, Outcome, Principal
from kaname.clock import ManualClock, SystemClock
from kaname.errors import DeadlineExceeded
from kaname.resilience.deadlines import TICK_NS, Deadlines

WHO = Principal("k", "tester", may_predict=None, scopes=frozenset())
MS = 1_000_000


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


def waiting(clock: ManualClock | SystemClock, ms: float, ended: list[Outcome]) -> Call:
    now = clock.monotonic_ns()
    deadline = now + int(ms * MS) if ms else 0
    return Call("r", WHO, lambda _, outcome: ended.append(outcome), 1, started_ns=now, deadline_ns=deadline)


@given(st.lists(st.tuples(st.floats(0.1, 500), st.booleans()), max_size=30), st.floats(0, 600))
def test_exactly_the_calls_whose_time_is_over_fail(calls: list[tuple[float, bool]], passed: float) -> None:
    """After a sweep every call a tick past its deadline has failed, none before its deadline, none forgotten."""
    loop, clock = asyncio.new_event_loop(), ManualClock()
    try:
        wheel = Deadlines(clock, loop)
        ends: list[tuple[float, bool, list[Outcome]]] = []
        for ms, forgotten in calls:
            ended: list[Outcome] = []
            call = waiting(clock, ms, ended)
            wheel.watch(call)
            if forgotten:
                wheel.forget(call)
            ends.append((ms, forgotten, ended))
        clock.advance(ms=passed)
        wheel.sweep()
        for ms, forgotten, ended in ends:
            if forgotten or passed < ms:
                assert not ended
            elif passed >= ms + TICK_NS / MS:
                (outcome,) = ended
                assert isinstance(outcome, DeadlineExceeded)
        wheel.close()
    finally:
        loop.close()


def test_a_call_that_has_ended_or_has_no_deadline_is_left_alone(loop: asyncio.AbstractEventLoop) -> None:
    """The wheel never sends a second outcome, and watches nothing that may wait for ever."""
    clock = ManualClock()
    wheel = Deadlines(clock, loop)
    done, endless = list[Outcome](), list[Outcome]()
    first = waiting(clock, 5, done)
    wheel.watch(first)
    wheel.watch(waiting(clock, 0, endless))
    first.fail(DeadlineExceeded("by another"))
    clock.advance(ms=10_000)
    wheel.sweep()
    assert [str(outcome) for outcome in done] == ["by another"]
    assert endless == []
    wheel.close()


def test_the_error_says_how_long_the_call_waited(loop: asyncio.AbstractEventLoop) -> None:
    """A person reading the answer sees the time that was spent."""
    clock = ManualClock()
    wheel = Deadlines(clock, loop)
    ended: list[Outcome] = []
    wheel.watch(waiting(clock, 40, ended))
    clock.advance(ms=52)
    wheel.sweep()
    assert "waited 52 ms" in str(ended[0])
    wheel.close()


def test_the_wheel_turns_by_itself_and_rests_when_it_is_empty() -> None:
    """On a real loop a call fails soon after its deadline, and no timer stays behind."""

    async def turn() -> None:
        loop = asyncio.get_running_loop()
        wheel = Deadlines(SystemClock(), loop)
        ended: asyncio.Future[Outcome] = loop.create_future()
        now = SystemClock().monotonic_ns()
        call = Call(
            "r", WHO, lambda _, outcome: ended.set_result(outcome), 1, started_ns=now, deadline_ns=now + 15 * MS
        )
        wheel.watch(call)
        outcome = await asyncio.wait_for(ended, 10)
        assert isinstance(outcome, DeadlineExceeded)
        assert SystemClock().monotonic_ns() >= call.deadline_ns
        assert wheel._timer is None
        assert wheel._buckets == {}

    asyncio.run(turn())


def test_calls_that_end_each_other_end_once(loop: asyncio.AbstractEventLoop) -> None:
    """The end of one call may end others that are due in the same sweep, in the same tick or in a later one: each
    ends once, those behind them are swept all the same, and the wheel goes on."""
    clock = ManualClock()
    wheel = Deadlines(clock, loop)
    ended: list[list[Outcome]] = [[] for _ in range(4)]
    calls = [waiting(clock, ms, out) for ms, out in zip((5, 6, 25, 45), ended, strict=True)]

    def take_along(_: Call, outcome: Outcome) -> Outcome:
        for other in calls[1:3]:
            if not other.done:
                other.fail(DeadlineExceeded("its friend has gone"))
        return outcome

    for call in calls:
        wheel.watch(call)

        def forget(one: Call, outcome: Outcome) -> Outcome:
            wheel.forget(one)
            return outcome

        call.back(forget)
    calls[0].back(take_along)
    clock.advance(ms=100)
    wheel.sweep()
    assert [len(out) for out in ended] == [1, 1, 1, 1]
    wheel.close()
