"""The journal watcher: every move is applied, one at a time, and a dead control plane stops nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest
import structlog

from kaname.serving.workers.watcher import JournalWatcher


class Journal:
    """A journal whose number a test moves, or takes away."""

    def __init__(self) -> None:
        self.number = 0
        self.dead = False
        self.reads = 0

    def __call__(self) -> int:
        self.reads += 1
        if self.dead:
            raise ConnectionError("the control plane is down")
        return self.number


async def watching(watcher: JournalWatcher, test: Callable[[], Awaitable[None]]) -> None:
    task = asyncio.create_task(watcher.run())
    try:
        async with asyncio.timeout(20):
            await test()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(look: Callable[[], bool]) -> None:
    while not look():
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("inline", [True, False])
def test_moves_are_applied_one_at_a_time(inline: bool) -> None:
    """While one number is applied the next waits; those between are skipped; the newest is always reached."""
    journal = Journal()
    applied: list[int] = []
    running = 0
    gate = asyncio.Event()

    async def apply(number: int) -> None:
        nonlocal running
        running += 1
        assert running == 1
        await gate.wait()
        applied.append(number)
        running -= 1

    async def test() -> None:
        journal.number = 1
        await until(lambda: running == 1)
        journal.number = 2
        journal.number = 5
        gate.set()
        await until(lambda: applied[-1:] == [5])
        assert applied == [1, 5]
        assert watcher.applied == 5

    watcher = JournalWatcher(journal, apply, interval_s=0.001, inline=inline)
    asyncio.run(watching(watcher, test))


def test_a_dead_control_plane_stops_nothing() -> None:
    """While the journal cannot be read it is said once, and what moved meanwhile is applied when it is back."""
    journal = Journal()
    applied: list[int] = []

    async def apply(number: int) -> None:
        applied.append(number)

    async def test() -> None:
        journal.dead = True
        reads = journal.reads
        await until(lambda: journal.reads > reads + 10)
        journal.number, journal.dead = 3, False
        await until(lambda: applied == [3])

    with structlog.testing.capture_logs() as lines:
        asyncio.run(watching(JournalWatcher(journal, apply, interval_s=0.001), test))
    assert [line["error"] for line in lines] == ["ConnectionError: the control plane is down"]


def test_a_failed_apply_is_tried_again() -> None:
    """A change that cannot be applied is said and tried again after the retry time."""
    journal = Journal()
    tries: list[int] = []

    async def apply(number: int) -> None:
        tries.append(number)
        if len(tries) < 3:
            raise ValueError("broken")

    async def test() -> None:
        journal.number = 1
        await until(lambda: watcher.applied == 1)

    watcher = JournalWatcher(journal, apply, interval_s=0.001, retry_s=0.002)
    with structlog.testing.capture_logs() as lines:
        asyncio.run(watching(watcher, test))
    assert tries == [1, 1, 1]
    assert len(lines) == 1


def test_a_poke_looks_at_once() -> None:
    """Who has just written a change need not wait for the next look."""
    journal = Journal()
    applied = asyncio.Event()

    async def apply(number: int) -> None:
        applied.set()

    async def test() -> None:
        await until(lambda: journal.reads == 1)
        journal.number = 1
        watcher.poke()
        await applied.wait()

    watcher = JournalWatcher(journal, apply, interval_s=3600)
    asyncio.run(watching(watcher, test))


def test_a_journal_that_goes_back_is_said() -> None:
    """A database put back from an older copy under a running server: nothing is applied, and somebody hears why."""
    journal = Journal()

    async def apply(number: int) -> None:
        raise AssertionError("there is nothing new")

    async def test() -> None:
        await until(lambda: journal.reads > 5)

    journal.number = 4
    with structlog.testing.capture_logs() as lines:
        asyncio.run(watching(JournalWatcher(journal, apply, applied=9, interval_s=0.001), test))
    assert [line["error"] for line in lines] == ["change 4, where change 9 was applied already"]
    assert "restarted" in lines[0]["event"]
