"""Which versions are in memory: loaded once, counted while they are used, released after the last call."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from kaname.errors import DeadlineExceeded, Unavailable
from kaname.inference.residency import artefact_file
from kaname.models.types import RuntimeChoice

from .house import House, ended, run, version
from .runtime import Asked


def test_calls_wait_for_one_load() -> None:
    """However many calls come while a version loads, it is loaded once and all are answered, in order."""

    async def scenario(house: House) -> None:
        house.go.clear()
        asked = [house.ask(version(1), float(n)) for n in range(6)]
        await asyncio.sleep(0)
        assert not any(one.call.done for one in asked)
        house.go.set()
        await ended(*asked)
        for one in asked:
            one.check_answer()
        assert house.opened == [1]
        assert house.sessions[1].runs == [[0.0, 1.0, 2.0, 3.0], [4.0, 5.0]]

    run(scenario)


def test_loads_take_turns() -> None:
    """One at a time, so that a load disturbs the others as little as it can; each for itself."""

    async def scenario(house: House) -> None:
        asked = [house.ask(version(n), float(n)) for n in (1, 2, 3)]
        await ended(*asked)
        assert sorted(house.opened) == [1, 2, 3]
        assert house.most == 1
        assert {info.id for info in house.residency.ready()} == {1, 2, 3}

    run(scenario)


def test_a_version_that_cannot_load_takes_no_other_down() -> None:
    """Its callers hear why at once, also later ones; the next load may succeed."""

    async def scenario(house: House) -> None:
        house.bad = {1}
        errors = await house.residency.load([version(1), version(2)])
        assert list(errors) == [1]
        bad, good = house.ask(version(1)), house.ask(version(2))
        await ended(bad, good)
        good.check_answer()
        assert type(bad.error) is Unavailable
        assert "version 1 of model m could not be loaded: the file is damaged" in bad.error.message
        assert house.opened == [1, 2]
        house.bad = set()
        assert await house.residency.load([version(1)]) == {}
        again = house.ask(version(1))
        await ended(again)
        again.check_answer()

    run(scenario)


def test_a_load_that_failed_is_tried_again_after_a_while() -> None:
    """A store may be away for a minute: the pause doubles, nothing but a call ends it, and a success forgets it."""

    async def scenario(house: House) -> None:
        house.bad = {1}
        for pause_ms in (1_000, 2_000, 4_000):
            tried, refused = house.ask(version(1)), len(house.opened) + 1
            await ended(tried)
            house.clock.advance(ms=pause_ms - 1)
            early = house.ask(version(1))
            await ended(early)
            assert (type(early.error), len(house.opened)) == (Unavailable, refused)
            house.clock.advance(ms=1)
        house.bad = set()
        again = house.ask(version(1))
        await ended(again)
        again.check_answer()
        assert house.opened == [1] * 4

    run(scenario)


def test_calls_that_wait_for_a_load_that_fails_hear_of_it() -> None:
    """Nobody is forgotten in the waiting room."""

    async def scenario(house: House) -> None:
        house.bad = {1}
        house.go.clear()
        asked = [house.ask(version(1)) for _ in range(3)]
        await asyncio.sleep(0)
        house.go.set()
        await ended(*asked)
        assert all(type(one.error) is Unavailable for one in asked)

    run(scenario)


def test_a_deadline_ends_the_wait_for_a_load() -> None:
    """The answer comes when the deadline passes, not when the load ends; who has more time is still answered."""

    async def scenario(house: House) -> None:
        house.go.clear()
        hurried, patient = house.ask(version(1), 1.0, ms=50), house.ask(version(1), 2.0, ms=5_000)
        await asyncio.sleep(0)
        house.clock.advance(ms=49)
        house.deadlines.sweep()
        assert not hurried.call.done
        house.clock.advance(ms=20)
        house.deadlines.sweep()
        assert type(hurried.error) is DeadlineExceeded
        assert not patient.call.done
        house.go.set()
        await ended(patient)
        patient.check_answer()
        assert house.sessions[1].runs == [[2.0]]
        assert len(hurried.outcomes) == 1

    run(scenario)


def test_the_old_version_answers_its_last_calls_after_the_swap() -> None:
    """A counted lease: calls in flight keep their session; it goes when the last has ended, and the new one answers."""

    async def scenario(house: House) -> None:
        await house.residency.load([version(1)])
        flying = [house.ask(version(1), float(n)) for n in range(6)]
        await house.residency.load([version(2)])
        flying += [house.ask(version(1), float(n)) for n in range(6, 9)]
        fresh = house.ask(version(2))
        house.residency.keep({2})
        await ended(*flying, fresh)
        for one in (*flying, fresh):
            one.check_answer()
        await house.gone(1)
        assert house.sessions[2].closed == 0
        assert [info.id for info in house.residency.ready()] == [2]

    run(scenario)


def test_an_idle_version_is_released_at_once_and_may_come_back() -> None:
    """Without calls nothing waits; the next call loads it anew."""

    async def scenario(house: House) -> None:
        await house.residency.load([version(1)])
        house.residency.keep(set())
        await house.gone(1)
        asked = house.ask(version(1))
        await ended(asked)
        asked.check_answer()
        assert house.opened == [1, 1]

    run(scenario)


def test_a_version_no_longer_wanted_answers_who_waits_and_goes() -> None:
    """Calls that wait for a version that others no longer need are still answered; then it is released."""

    async def scenario(house: House) -> None:
        house.go.clear()
        asked = house.ask(version(1))
        await asyncio.sleep(0)
        house.residency.keep(set())
        house.go.set()
        await ended(asked)
        asked.check_answer()
        assert house.residency.ready() == []
        await house.gone(1)

    run(scenario)


def test_a_version_wanted_again_while_it_loads_stays() -> None:
    """The last word counts: dropped, then asked for by a new path, it is loaded once and kept."""

    async def scenario(house: House) -> None:
        house.go.clear()
        first = house.ask(version(1), 1.0)
        await asyncio.sleep(0)
        house.residency.keep(set())
        second = house.ask(version(1), 2.0)
        house.go.set()
        await ended(first, second)
        assert house.opened == [1]
        assert [info.id for info in house.residency.ready()] == [1]

    run(scenario)


def test_a_load_that_nobody_needs_any_more_is_not_begun() -> None:
    """Dropped before its turn came, and nobody waits: it is not loaded at all."""

    async def scenario(house: House) -> None:
        house.go.clear()
        first = house.ask(version(1), 1.0)
        second = house.ask(version(2), 2.0, ms=50)
        await asyncio.sleep(0)
        house.residency.keep({1})
        house.clock.advance(ms=100)
        house.deadlines.sweep()
        assert type(second.error) is DeadlineExceeded
        house.go.set()
        await ended(first)
        await house.residency.load([version(1)])
        assert house.opened == [1]

    run(scenario)


def test_a_late_call_over_an_old_path_leaves_nothing_behind() -> None:
    """A path composed before the version was released still answers: it is loaded once more, and released."""

    async def scenario(house: House) -> None:
        await house.residency.load([version(1)])
        old = house.residency.of(version(1))
        house.residency.keep(set())
        late = [Asked([[value, 0, 0]], as_table=True, clock=house.clock) for value in (1.0, 2.0)]
        for one in late:
            house.residency.submit(old, one.call)
        await ended(*late)
        for one in late:
            one.check_answer()
        assert house.opened == [1, 1]
        assert house.residency.ready() == []
        await house.gone(1)

    run(scenario)


def test_a_late_call_over_an_old_path_uses_what_is_in_memory() -> None:
    """The version came back meanwhile: it is not loaded a second time beside itself."""

    async def scenario(house: House) -> None:
        await house.residency.load([version(1)])
        old = house.residency.of(version(1))
        house.residency.keep(set())
        await house.residency.load([version(1)])
        late = Asked([[1.0, 0, 0]], as_table=True, clock=house.clock)
        house.residency.submit(old, late.call)
        await ended(late)
        late.check_answer()
        assert house.opened == [1, 1]

    run(scenario)


def test_the_file_that_the_chosen_runtime_reads() -> None:
    """An artefact may hold several; the choice says which, and its lack is an error that names the version."""
    from pathlib import Path

    choices = (
        RuntimeChoice(runtime="native", file="model.txt"),
        RuntimeChoice(runtime="onnx", file="model.onnx", chosen=True),
    )
    info = msgspec.structs.replace(version(1), choices=choices)
    assert artefact_file(Path("folder"), info) == Path("folder/model.onnx")
    with pytest.raises(Unavailable, match="version 1 of model m"):
        artefact_file(Path("folder"), version(1))
