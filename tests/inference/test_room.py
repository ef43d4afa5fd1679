"""A budget of memory: who has to leave, who is refused, and that nobody's call suffers for it."""

from __future__ import annotations

import asyncio

from kaname.errors import DeadlineExceeded, Unavailable

from .house import House, ended, run, version


def test_the_budget_is_kept() -> None:
    """Ten versions of 100 bytes in room for three: all are answered, and no more than three are ever in memory."""

    async def scenario(house: House) -> None:
        house.sizes = dict.fromkeys(range(10), 100)
        for number in [*range(10), *range(10)]:
            asked = house.ask(version(number), float(number))
            await ended(asked)
            asked.check_answer()
            assert house.residency.room.used <= 350
            house.clock.advance(ms=10)
        assert len(house.opened) == 20
        assert house.residency.room.evictions == 17

    run(scenario, budget=350)


def test_what_stays_is_not_loaded_again() -> None:
    """The version that is asked all the time stays, those that are asked once go."""

    async def scenario(house: House) -> None:
        house.sizes = dict.fromkeys(range(20), 100)
        for number in range(1, 20):
            for wanted in (0, number):
                asked = house.ask(version(wanted))
                await ended(asked)
                asked.check_answer()
                house.clock.advance(ms=10)
        assert house.opened.count(0) == 1

    run(scenario, budget=350)


def test_a_version_says_why_it_left() -> None:
    """For whom, how much room that needs, and for how long nobody had asked."""

    async def scenario(house: House) -> None:
        house.sizes = {1: 100, 2: 2048}
        for number in (1, 2):
            asked = house.ask(version(number))
            await ended(asked)
            house.clock.advance(ms=1500)
        resident = house.residency.of(version(1))
        assert resident.why == "room for m/2 (2 KiB) after 1.5 s without a call"
        assert (resident.loads, resident.evictions, resident.lane) == (1, 1, None)

    run(scenario, budget=2100)


def test_calls_in_progress_are_answered_before_their_version_leaves() -> None:
    """It leaves at once for calls to come, which wait for another load; its session lives until the last answer."""

    async def scenario(house: House) -> None:
        house.sizes = {1: 100, 2: 100}
        first = house.ask(version(1), 0.0)
        await ended(first)
        lane = await house.residency.lease(house.residency.of(version(1)))
        other = house.ask(version(2), 2.0)
        while house.residency.is_ready(version(1)):
            await asyncio.sleep(0.001)
        again = house.ask(version(1), 3.0)
        await asyncio.sleep(0.02)
        assert not other.call.done, "two sessions of 100 bytes in 150"
        assert house.sessions[1].closed == 0, "its lease is still held"
        held = house.sessions[1]
        lane.let_go()
        await ended(other, again)
        assert held.closed == 1
        other.check_answer()
        again.check_answer()
        assert house.opened == [1, 2, 1]

    run(scenario, budget=150)


def test_two_that_do_not_fit_together_take_turns() -> None:
    """Two callers ask without a pause, each another version: nobody fails, and a load serves many calls."""

    async def scenario(house: House) -> None:
        house.sizes = {1: 100, 2: 100}
        house.load_ms = 10

        async def caller(number: int) -> None:
            for _ in range(2000):
                asked = house.ask(version(number), float(number))
                while not asked.call.done:
                    await asyncio.sleep(0)
                    house.clock.advance(ms=1)
                asked.check_answer()

        await asyncio.gather(caller(1), caller(2))
        print(f"{len(house.opened)} loads for 4,000 calls")
        assert 4 <= len(house.opened) <= 200

    run(scenario, budget=150)


def test_a_version_larger_than_the_budget_is_refused() -> None:
    """Before it is loaded when its size is known, and nothing else leaves for it; the error says both figures."""

    async def scenario(house: House) -> None:
        house.sizes = {1: 100, 2: 4096}
        small = house.ask(version(1))
        await ended(small)
        large = house.ask(version(2))
        await ended(large)
        assert type(large.error) is Unavailable
        assert str(large.error) == (
            "m/2: the version takes more memory than models may have; found 4 KiB; "
            "expected at most 1 KiB in this worker (inference.memory_bytes)"
        )
        assert house.opened == [1]
        assert [info.id for info in house.residency.ready()] == [1]

    run(scenario, budget=1024)


def test_a_version_that_turns_out_larger_than_the_budget_is_refused() -> None:
    """Nobody knew its size: it is measured, its session is closed, and its callers hear why."""

    async def scenario(house: House) -> None:
        house.taken = {1: 4096}
        asked = house.ask(version(1))
        await ended(asked)
        assert "takes more memory than models may have" in asked.error.message
        await house.gone(1)
        assert house.residency.room.used == 0

    run(scenario, budget=1024)


def test_others_leave_when_a_version_turns_out_larger_than_expected() -> None:
    """The budget is for what was measured, not for what was expected."""

    async def scenario(house: House) -> None:
        house.sizes = {1: 100, 2: 100, 3: 100}
        house.taken = {3: 250}
        for number in (1, 2, 3):
            asked = house.ask(version(number))
            await ended(asked)
            asked.check_answer()
            house.clock.advance(ms=10)
        while house.residency.room.used > 400:
            await asyncio.sleep(0.001)
        assert [info.id for info in house.residency.ready()] == [2, 3]

    run(scenario, budget=400)


def test_what_is_pinned_never_leaves() -> None:
    """However long nobody asks it; a version that does not fit beside it is refused, and hears what is pinned."""

    async def scenario(house: House) -> None:
        house.sizes = {1: 600, 2: 300, 3: 300, 4: 500}
        house.residency.pin({1})
        await house.residency.load([version(1)])
        for number in (2, 3, 2, 3):
            house.clock.advance(ms=100_000)
            asked = house.ask(version(number))
            await ended(asked)
            asked.check_answer()
        assert house.opened == [1, 2, 3, 2, 3]
        refused = house.ask(version(4))
        await ended(refused)
        assert "of which pinned versions take" in str(refused.error)

    run(scenario, budget=1000)


def test_a_call_whose_deadline_passes_while_it_waits_for_room_is_not_loaded_for() -> None:
    """The version that is in use stays when nobody waits for the other one any more."""

    async def scenario(house: House) -> None:
        house.sizes = {1: 100, 2: 100}
        await ended(house.ask(version(1)))
        lane = await house.residency.lease(house.residency.of(version(1)))
        hurried = house.ask(version(2), ms=50)
        await asyncio.sleep(0.005)
        house.clock.advance(ms=100)
        house.deadlines.sweep()
        assert type(hurried.error) is DeadlineExceeded
        await asyncio.sleep(0.1)
        assert house.opened == [1]
        lane.let_go()

    run(scenario, budget=150)


def test_whoever_waits_for_room_does_not_wait_longer_than_it_is_there() -> None:
    """Loads are begun in the order in which they were asked for, as room comes."""

    async def scenario(house: House) -> None:
        house.sizes = dict.fromkeys(range(6), 100)
        asked = [house.ask(version(number), float(number)) for number in range(6)]
        await ended(*asked)
        for one in asked:
            one.check_answer()
        assert house.opened == list(range(6))

    run(scenario, budget=250)


def test_a_large_version_finds_room_among_many_small_ones() -> None:
    """Who leaves is chosen from a sample of them; where one needs the room of hundreds, the sample is large enough."""

    async def scenario(house: House) -> None:
        house.sizes = dict.fromkeys(range(1, 301), 100) | {999: 20_000}
        await house.residency.load([version(number) for number in range(1, 301)])
        house.clock.advance(ms=1000)
        large = house.ask(version(999))
        await ended(large)
        large.check_answer()
        assert 200 <= house.residency.room.evictions <= 210
        assert house.residency.room.used <= 30_000

    run(scenario, budget=30_000)


def test_sessions_are_closed_where_they_were_opened() -> None:
    """On the thread that loads: the loop does not wait for the allocator while memory is weighed or given back."""

    async def scenario(house: House) -> None:
        house.sizes = {1: 100, 2: 100}
        for number in (1, 2):
            await ended(house.ask(version(number)))
            house.clock.advance(ms=10)
        await house.gone(1)
        assert house.sessions[1].closed_on == house.opened_on[1] == "load_0"

    run(scenario, budget=150)


def test_who_has_left_is_closed_before_a_session_with_threads_of_its_own_is_opened() -> None:
    """It is opened on another thread, and still nothing is loaded beside what has to make room."""

    async def scenario(house: House) -> None:
        house.sizes = {1: 100, 2: 100}
        house.threaded = {2}
        for number in (1, 2):
            asked = house.ask(version(number))
            await ended(asked)
            asked.check_answer()
            house.clock.advance(ms=10)
        assert house.sessions[1].closed == 1
        assert house.opened_on[2] == "load-beside_0"

    run(scenario, budget=150)


# --- a device -------------------------------------------------------------------------------------------


def test_the_devices_budget_is_kept() -> None:
    """Room for three on the device and for all in the machine's memory: never more than three, and all are answered."""

    async def scenario(house: House) -> None:
        house.sizes = dict.fromkeys(range(8), 10)
        house.device_sizes = dict.fromkeys(range(8), 100)
        for number in [*range(8), *range(8)]:
            asked = house.ask(version(number), float(number))
            await ended(asked)
            asked.check_answer()
            assert house.residency.room.device.used <= 350
            house.clock.advance(ms=10)
        room = house.residency.room
        assert (room.device.budget, room.device.used, room.evictions) == (350, 300, 13)
        assert room.used == 10 * len(room.inside)

    run(scenario, device_budget=350)


def test_a_version_too_large_for_the_device_is_refused() -> None:
    """After its first load has shown it, with the setting that says so; the others are answered."""

    async def scenario(house: House) -> None:
        house.device_sizes = {1: 100, 2: 2048}
        for number in (2, 1):
            asked = house.ask(version(number))
            await ended(asked)
            if number == 1:
                asked.check_answer()
                continue
            assert isinstance(asked.error, Unavailable)
            assert "more memory of the device" in asked.error.message
            assert "inference.device_memory_bytes" in str(asked.error.expected)
        assert house.residency.room.device.used == 100

    run(scenario, device_budget=350)


def test_what_runs_on_the_processor_takes_nothing_of_the_device() -> None:
    """Whatever another process does there while it loads."""

    async def scenario(house: House) -> None:
        house.device_sizes = {1: 100}
        for number in (1, 2):
            await ended(house.ask(version(number)))
            house.on_device += 1000
        residents = [house.residency.of(version(number)) for number in (1, 2)]
        assert [resident.device_bytes for resident in residents] == [100, 0]

    run(scenario, device_budget=350)


def test_without_a_device_nothing_is_counted_of_one() -> None:
    """Its budget stays unknown, and nobody leaves for its sake."""

    async def scenario(house: House) -> None:
        house.device_sizes = {1: 100}
        asked = house.ask(version(1))
        await ended(asked)
        asked.check_answer()
        assert (house.residency.room.device.budget, house.residency.room.device.used) == (None, 0)

    run(scenario)
