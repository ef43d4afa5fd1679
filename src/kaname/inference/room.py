"""The memory that the sessions of one worker may take, of the machine and of a device: who is in it, who makes room."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from random import Random

from kaname.clock import Clock
from kaname.inference.eviction import Choice, choose
from kaname.inference.lane import Lane
from kaname.inference.resident import Resident
from kaname.inference.shelf import Shelf, Taken, in_units
from kaname.runtimes.types import Session

SAMPLE = 64
"""Versions of which those that leave are chosen where there are more; the worst of them are among the worst of all, and
to look at thousands would hold up every request."""
AMPLE = 8
"""How many times the wanted bytes are to be in the sample, so that it is a choice."""
LOOK_S = 0.05
"""Longest wait before looking again who may leave."""


class Room:
    """`budget` bytes of the machine's memory. The device's budget is set once it is known what the device has."""

    def __init__(self, budget: int, clock: Clock, close: Callable[[Session, int], None]) -> None:
        """`close` is given every session that has left, with its bytes, and closes it before another one is loaded."""
        self._close = close
        self.budget = budget
        self.host = Shelf(budget, "", "inference.memory_bytes", lambda resident: resident.bytes)
        self.device = Shelf(
            None, " of the device", "inference.device_memory_bytes", lambda resident: resident.device_bytes
        )
        self.evictions = 0
        self.inside: dict[int, Resident] = {}
        self.pinned: set[int] = set()
        self._clock = clock
        self._random = Random(0)  # noqa: S311  (who is looked at, no secret)
        self._freed = asyncio.Event()

    @property
    def used(self) -> int:
        """Of the machine's memory."""
        return self.host.used

    def has_room(self, taken: Taken) -> bool:
        """Whether there is room without anybody leaving."""
        return self.host.short(taken.host) <= 0 and self.device.short(taken.device) <= 0

    def check(self, resident: Resident, taken: Taken) -> None:
        """Raise Unavailable for a version that cannot be in memory beside what is pinned, however long it waits."""
        self._check(self.host, resident, taken.host)
        self._check(self.device, resident, taken.device)

    def _check(self, shelf: Shelf, resident: Resident, size: int) -> None:
        inside = [self.inside[number] for number in self.pinned - {resident.info.id} if number in self.inside]
        shelf.check(resident.name, size, sum(map(shelf.of, inside)))

    async def make(self, taken: Taken, resident: Resident, wanted: Callable[[], bool]) -> None:
        """Return when there is room for so many bytes more, or `wanted` no longer says so. Raises what `check` does."""
        await self._make(self.host, taken.host, resident, wanted)
        await self._make(self.device, taken.device, resident, wanted)

    async def _make(self, shelf: Shelf, size: int, resident: Resident, wanted: Callable[[], bool]) -> None:
        self._check(shelf, resident, size)
        while (short := shelf.short(size)) > 0 and wanted():
            self._freed.clear()
            wait_s = LOOK_S
            if short > shelf.leaving:
                wait_s = self._clear(shelf, short - shelf.leaving, resident, size)
            if shelf.short(size) > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(wait_s, LOOK_S)):
                        await self._freed.wait()

    def _clear(self, shelf: Shelf, wanted: int, newcomer: Resident, size: int) -> float:
        """Let somebody leave; returns how long to wait for more."""
        now = self._clock.monotonic_ns()
        everyone = [*self.inside.values()]
        some = self._sample(shelf, everyone, wanted)
        choice = self._choose(shelf, some, newcomer, wanted, now)
        if not choice.leave and len(some) < len(everyone):
            choice = self._choose(shelf, everyone, newcomer, wanted, now)
        if not choice.leave and choice.wait_s is None:
            self._check(shelf, newcomer, size)
        for number in choice.leave:
            resident = self.inside[number]
            idle_s = (now - resident.used_ns) / 1e9
            self.evict(resident, f"room for {newcomer.name} ({in_units(size)}) after {idle_s:.1f} s without a call")
        return LOOK_S if choice.wait_s is None else choice.wait_s

    def _sample(self, shelf: Shelf, everyone: list[Resident], wanted: int) -> list[Resident]:
        ample = AMPLE * wanted * len(everyone) // max(shelf.used, 1)
        return self._random.sample(everyone, min(max(SAMPLE, ample), len(everyone)))

    def _choose(self, shelf: Shelf, among: Sequence[Resident], newcomer: Resident, wanted: int, now_ns: int) -> Choice:
        tenants = [
            resident.tenant(resident.lane, shelf.of(resident), now_ns, pinned=resident.info.id in self.pinned)
            for resident in among
            if resident.lane is not None and resident is not newcomer
        ]
        return choose(tenants, wanted)

    def enter(self, resident: Resident, lane: Lane, taken: Taken, load_ns: int) -> None:
        """A session that takes so much has been loaded."""
        resident.entered(lane, taken.host, taken.device, load_ns, self._clock.monotonic_ns())
        self.inside[resident.info.id] = resident
        self.host.used += taken.host
        self.device.used += taken.device

    def evict(self, resident: Resident, why: str) -> None:
        """Take a version out of memory, as soon as its last call is answered."""
        resident.evictions += 1
        resident.why = why
        self.evictions += 1
        self.leave(resident)

    def leave(self, resident: Resident) -> None:
        """Give the session up after the calls that are in progress; those that come wait for another load."""
        lane = resident.left()
        if lane is None:
            return
        del self.inside[resident.info.id]
        shelves = [(shelf, shelf.of(resident)) for shelf in (self.host, self.device)]
        size = resident.bytes
        for shelf, part in shelves:
            shelf.leaving += part

        def release(session: Session) -> None:
            for shelf, part in shelves:
                shelf.leaving -= part
                shelf.used -= part
            self._freed.set()
            self._close(session, size)

        lane.release_when_idle(release)
