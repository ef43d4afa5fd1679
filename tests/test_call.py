"""A call ends once, through its handlers in reverse order, whatever they do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import numpy as np
import pytest

from kaname.call import (
    DROPPED,
    Answer,
    Call,
    Door,
    Handler,
    Handlers,
    Outcome,
    Outputs,
    Principal,
    answer_all,
    as_error,
    ask,
    enter,
)  # fmt: skip
from kaname.errors import InvalidInput, KanameError, Overloaded

WHO = Principal("k", "tester", may_predict=None, scopes=frozenset())
OUTPUTS = Outputs((np.arange(6.0).reshape(3, 2), np.array([7, 8, 9])))


class Seen:
    """A door that remembers."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def __call__(self, call: Call, outcome: Outcome) -> None:
        assert call.done
        self.outcomes.append(outcome)

    @property
    def error(self) -> KanameError:
        (outcome,) = self.outcomes
        assert isinstance(outcome, KanameError)
        return outcome


def new_call(door: Door) -> Call:
    return Call("r1", WHO, door, rows=1, table=((1.0,),))


def noting(seen: list[Outcome]) -> Handler:
    def handler(_: Call, outcome: Outcome) -> Outcome:
        seen.append(outcome)
        return outcome

    return handler


def keeping(kept: list[Outcome]) -> Handler:
    def handler(_: Call, outcome: Outcome) -> None:
        kept.append(outcome)

    return handler


def test_handlers_run_last_in_first_out_and_then_the_door() -> None:
    """The end of a call unwinds what listens to it in reverse order."""
    door, order = Seen(), list[str]()

    def note(name: str) -> None:
        def handler(_: Call, outcome: Outcome) -> Outcome:
            assert not door.outcomes
            order.append(name)
            return outcome

        call.back(handler)

    call = new_call(door)
    for name in "abc":
        note(name)
    call.answer(OUTPUTS, 0, 1)
    assert order == ["c", "b", "a"]
    (outcome,) = door.outcomes
    assert isinstance(outcome, Answer)


def test_a_handler_replaces_the_outcome_for_those_below_it() -> None:
    """A fallback's answer is what the handlers pushed earlier and the door see."""
    door, below = Seen(), list[Outcome]()
    call = new_call(door)
    call.back(noting(below))
    call.back(lambda _, __: Answer(OUTPUTS, 1, 2))
    call.fail(Overloaded("full"))
    assert below == door.outcomes
    assert isinstance(door.outcomes[0], Answer)


def test_a_handler_that_keeps_the_call_continues_it_below_itself() -> None:
    """None keeps the call; its later end runs only the handlers that have not run."""
    door, below, kept = Seen(), list[Outcome](), list[Outcome]()
    call = new_call(door)
    call.back(noting(below))
    call.back(keeping(kept))
    call.answer(OUTPUTS, 0, 1)
    assert len(kept) == 1
    assert not below
    assert not call.done
    assert not door.outcomes
    call.end(kept[0])
    assert below == door.outcomes == kept


def test_a_second_outcome_is_dropped_and_counted() -> None:
    """A late answer after a deadline reaches nobody."""
    door = Seen()
    call = new_call(door)
    before = DROPPED.count
    call.fail(InvalidInput("first"))
    call.answer(OUTPUTS, 0, 1)
    call.fail(InvalidInput("third"))
    assert door.error.message == "first"
    assert DROPPED.count == before + 2


def test_a_kept_call_that_its_deadline_ends_drops_the_kept_outcome() -> None:
    """While a handler waits for the disk, the deadline may pass: the door hears of one of the two."""
    door, kept = Seen(), list[Outcome]()
    call = new_call(door)
    call.back(keeping(kept))
    call.answer(OUTPUTS, 0, 1)
    call.fail(Overloaded("late"))
    before = DROPPED.count
    call.end(kept[0])
    assert door.error.message == "late"
    assert DROPPED.count == before + 1


def test_a_handler_that_raises_fails_its_own_call_and_the_rest_still_run(caplog: pytest.LogCaptureFixture) -> None:
    """The guard: the handlers below see an internal error, which the log explains."""
    door, below = Seen(), list[Outcome]()

    def broken(_: Call, __: Outcome) -> Outcome:
        raise ZeroDivisionError("secret")

    call = new_call(door)
    call.back(noting(below))
    call.back(broken)
    with caplog.at_level(logging.ERROR, "kaname.call"):
        call.answer(OUTPUTS, 0, 1)
    assert door.error.code == "internal"
    assert "secret" not in door.error.message
    assert below == [door.error]
    assert "ZeroDivisionError: secret" in caplog.text


@pytest.mark.parametrize("then", ["returns", "raises"])
def test_a_handler_that_ends_the_call_itself_does_not_end_it_twice(then: str) -> None:
    """However a handler errs, the door sees one outcome."""
    door = Seen()

    def ends(call: Call, outcome: Outcome) -> Outcome:
        call.fail(InvalidInput("from the handler"))
        if then == "raises":
            raise ValueError("afterwards")
        return outcome

    call = new_call(door)
    call.back(lambda _, outcome: outcome)
    call.back(ends)
    before = DROPPED.count
    call.answer(OUTPUTS, 0, 1)
    assert door.error.message == "from the handler"
    assert DROPPED.count == before + 1


def test_a_handler_enters_another_step_that_answers_at_once() -> None:
    """A fallback that does not wait: kept and ended within the handler."""
    door = Seen()

    def fallback(call: Call, _: Outcome) -> None:
        enter(lambda again: again.answer(OUTPUTS, 2, 3), call)

    call = new_call(door)
    call.back(fallback)
    call.fail(Overloaded("full"))
    (outcome,) = door.outcomes
    assert isinstance(outcome, Answer)
    assert outcome.start == 2


def test_a_door_that_raises_harms_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    """The caller that ends a call never sees the fault of its door."""

    def broken(_: Call, __: Outcome) -> None:
        raise BrokenPipeError("gone")

    call = new_call(broken)
    call.answer(OUTPUTS, 0, 1)
    assert call.done
    assert "r1" in caplog.text


def test_enter_fails_the_call_of_a_step_that_raises() -> None:
    """The guard around steps: a platform error as it is, another as an internal one that keeps its cause."""
    door = Seen()

    def refuses(_: Call) -> None:
        raise InvalidInput("no", where="x")

    enter(refuses, new_call(door))
    assert door.error.where == "x"
    cause = RuntimeError("secret")
    wrapped = as_error(cause)
    assert wrapped.__cause__ is cause
    assert "secret" not in str(wrapped)


def test_an_answer_is_its_own_rows_or_all_of_a_run() -> None:
    """Rows of a shared run are views; without a stop it is everything, also tensors without rows."""
    first, second = Answer(OUTPUTS, 1, 3).tensors()
    assert first.tolist() == [[2.0, 3.0], [4.0, 5.0]]
    assert second.tolist() == [8, 9]
    assert first.base is not None
    assert Answer(OUTPUTS, 0, None).tensors() is OUTPUTS.tensors
    assert OUTPUTS.as_list(1) is OUTPUTS.as_list(1) == [7, 8, 9]


def test_ask_returns_the_answer_or_raises_the_error() -> None:
    """The one place where a future is made."""

    async def both() -> None:
        answer = await ask(lambda call: call.answer(OUTPUTS, 0, 2), new_call)
        assert answer.stop == 2
        with pytest.raises(Overloaded, match="full"):
            await ask(lambda call: call.fail(Overloaded("full")), new_call)

    asyncio.run(both())


def test_cancelling_the_waiter_marks_the_call_gone() -> None:
    """Whoever holds the call next may drop it; its late answer is no fault."""

    async def leave() -> None:
        held: list[Call] = []
        task = asyncio.create_task(ask(held.append, new_call))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (call,) = held
        assert call.gone
        call.answer(OUTPUTS, 0, 1)
        assert call.done

    asyncio.run(leave())


class Runs:
    """A chain of handlers that can be told of all calls of a run at once, and what it was told."""

    def __init__(self) -> None:
        self.alone: list[Outcome] = []
        self.together: list[tuple[list[str], list[int]]] = []

    def chain(self) -> Handlers:
        return noting(self.alone), None, self._tell

    def _tell(self, calls: Sequence[Call], outputs: Outputs) -> None:
        assert outputs is OUTPUTS
        assert all(call.done for call in calls)
        self.together.append(([call.request_id for call in calls], [call.ended_ns for call in calls]))


def run_of(chains: Sequence[Handlers], door: Door) -> list[Call]:
    """One call of a row for each chain."""
    return [Call(f"r{i}", WHO, door, rows=1, observers=chain) for i, chain in enumerate(chains)]


def test_calls_with_one_chain_are_answered_and_then_told_together() -> None:
    """Each gets its own rows at its own time; the chain hears of them once, when all are answered."""
    runs, door, clock = Runs(), Seen(), iter((10, 20, 30))
    answer_all(run_of([runs.chain()] * 3, door), OUTPUTS, clock.__next__)
    rows = [(one.start, one.stop) for one in door.outcomes if isinstance(one, Answer)]
    assert rows == [(0, 1), (1, 2), (2, 3)]
    assert runs.together == [(["r0", "r1", "r2"], [10, 20, 30])]
    assert runs.alone == []


def test_calls_of_different_chains_end_one_by_one() -> None:
    """A handler pushed on one of them, or another chain, is not passed over."""
    runs, pushed, door = Runs(), list[Outcome](), Seen()
    shared = runs.chain()
    calls = run_of([shared, shared, Runs().chain()], door)
    calls[1].back(noting(pushed))
    answer_all(calls, OUTPUTS, lambda: 1)
    assert (len(door.outcomes), len(runs.alone), len(pushed), runs.together) == (3, 2, 1, [])


def test_a_call_that_has_ended_is_not_answered_again_with_its_run() -> None:
    """It expired while the run went on: the others are answered, the late outcome is dropped."""
    runs, door = Runs(), Seen()
    calls = run_of([runs.chain()] * 3, door)
    calls[1].fail(Overloaded("too late"))
    dropped = DROPPED.count
    answer_all(calls, OUTPUTS, lambda: 1)
    assert [type(one) for one in door.outcomes] == [Overloaded, Answer, Answer]
    assert DROPPED.count == dropped + 1


def test_a_door_that_fails_keeps_no_other_call_of_its_run_waiting(caplog: pytest.LogCaptureFixture) -> None:
    """Its fault is logged; the others get their answers and the chain hears of all."""
    runs, door = Runs(), Seen()

    def broken(call: Call, outcome: Outcome) -> None:
        raise OSError("no line")

    calls = run_of([runs.chain()] * 3, door)
    calls[0].door = broken
    answer_all(calls, OUTPUTS, lambda: 1)
    assert len(door.outcomes) == 2
    assert runs.together == [(["r0", "r1", "r2"], [1, 1, 1])]
    assert "no line" in caplog.text
