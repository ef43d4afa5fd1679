"""The threads that load: behind the loop where they can be, one at a time."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable

import pytest

from kaname.inference.loads import STEPS_BACK, Loads


def priority() -> int:
    """Of the calling thread, as nice(2) counts."""
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def with_loads(scenario: Callable[[Loads], Awaitable[None]]) -> None:
    async def main() -> None:
        loads = Loads()
        await scenario(loads)
        loads.shutdown()

    asyncio.run(main())


def test_loads_stand_behind_the_loop() -> None:
    """Where both share a core, the loop goes first; its own thread stays where it was."""

    async def scenario(loads: Loads) -> None:
        mine = priority()
        assert await loads.run(priority, starts_threads=False) == min(mine + STEPS_BACK, 19)
        assert priority() == mine

    with_loads(scenario)


def test_what_a_session_starts_does_not_stand_back() -> None:
    """Threads inherit from their maker: those of a session compute for requests."""

    def started() -> int:
        found: list[int] = []
        thread = threading.Thread(target=lambda: found.append(priority()))
        thread.start()
        thread.join()
        return found[0]

    async def scenario(loads: Loads) -> None:
        await loads.run(priority, starts_threads=False)
        assert await loads.run(started, starts_threads=True) == priority()

    with_loads(scenario)


def test_one_works_at_a_time_in_the_order_given() -> None:
    """Whichever thread it is for."""

    async def scenario(loads: Loads) -> None:
        order: list[int] = []
        go = threading.Event()

        def first() -> None:
            assert go.wait(20)
            order.append(0)

        loads.submit(first)
        others = [
            asyncio.ensure_future(loads.run(lambda number=number: order.append(number), starts_threads=number == 1))  # type: ignore[misc]  # a default binds it now
            for number in (1, 2)
        ]
        await asyncio.sleep(0)
        assert not order
        go.set()
        await asyncio.gather(*others)
        assert order[0] == 0
        assert set(order) == {0, 1, 2}

    with_loads(scenario)


def test_what_fails_is_told_to_whoever_asked() -> None:
    """And the next one is done all the same."""

    def bad() -> None:
        raise ValueError("damaged")

    async def scenario(loads: Loads) -> None:
        for starts_threads in (False, True):
            with pytest.raises(ValueError, match="damaged"):
                await loads.run(bad, starts_threads=starts_threads)
        assert await loads.run(lambda: 1, starts_threads=False) == 1

    with_loads(scenario)
