"""The memory that the sessions of one worker may take: who is in it, and who makes room."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from random import Random

from kaname.clock import Clock
from kaname.errors import Unavailable
from kaname.inference.eviction import Choice, choose
from kaname.inference.lane import Lane
from kaname.inference.resident import Resident
from kaname.runtimes.types import Session

SAMPLE = 64
"""Versions of which those that leave are chosen where there are more; the worst of them are among the worst of all, and
to look at thousands would hold up every request."""
AMPLE = 8
"""How many times the wanted bytes are to be in the sample, so that it is a choice."""
LOOK_S = 0.05
"""Longest wait before looking again who may leave."""


class Room:
    """`budget` bytes. `used` counts what is loaded, and what has left but still answers its last calls."""

    def __init__(self, budget: int, clock: Clock, close: Callable[[Session, int], None]) -> None:
        """`close` is given every session that has left, with its bytes, and closes it before another one is loaded."""
        self._close = close
        self.budget = budget
        self.used = 0
        self.evictions = 0
        self.inside: dict[int, Resident] = {}
        self.pinned: set[int] = set()
        self._clock = clock
        self._leaving = 0
        self._random = Random(0)  # noqa: S311  (who is looked at, no secret)
        self._freed = asyncio.Event()

    def check(self, resident: Resident, size: int) -> None:
        """Raise Unavailable for a version that cannot be in memory beside what is pinned, however long it waits."""
        others = self.pinned & self.inside.keys() - {resident.info.id}
        pinned = sum(self.inside[number].bytes for number in others)
        if size > self.budget - pinned:
            kept = f", of which pinned versions take {in_units(pinned)}" if pinned else ""
            raise Unavailable(
                "the version takes more memory than models may have",
                where=resident.name,
                found=in_units(size),
                expected=f"at most {in_units(self.budget)} in this worker{kept} (inference.memory_bytes)",
            )

    async def make(self, size: int, resident: Resident, wanted: Callable[[], bool]) -> None:
        """Return when there is room for `size` bytes more, or `wanted` no longer says so. Raises what `check` does."""
        self.check(resident, size)
        while (short := self.used + size - self.budget) > 0 and wanted():
            self._freed.clear()
            wait_s = LOOK_S
            if short > self._leaving:
                wait_s = self._clear(short - self._leaving, resident, size)
            if self.used + size > self.budget:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(wait_s, LOOK_S)):
                        await self._freed.wait()

    def _clear(self, wanted: int, newcomer: Resident, size: int) -> float:
        """Let somebody leave; returns how long to wait for more."""
        now = self._clock.monotonic_ns()
        everyone = [*self.inside.values()]
        some = self._sample(everyone, wanted)
        choice = self._choose(some, newcomer, wanted, now)
        if not choice.leave and len(some) < len(everyone):
            choice = self._choose(everyone, newcomer, wanted, now)
        if not choice.leave and choice.wait_s is None:
            self.check(newcomer, size)
        for number in choice.leave:
            resident = self.inside[number]
            idle_s = (now - resident.used_ns) / 1e9
            self.evict(resident, f"room for {newcomer.name} ({in_units(size)}) after {idle_s:.1f} s without a call")
        return LOOK_S if choice.wait_s is None else choice.wait_s

    def _sample(self, everyone: list[Resident], wanted: int) -> list[Resident]:
        ample = AMPLE * wanted * len(everyone) // max(self.used, 1)
        return self._random.sample(everyone, min(max(SAMPLE, ample), len(everyone)))

    def _choose(self, among: Sequence[Resident], newcomer: Resident, wanted: int, now_ns: int) -> Choice:
        tenants = [
            resident.tenant(resident.lane, now_ns, pinned=resident.info.id in self.pinned)
            for resident in among
            if resident.lane is not None and resident is not newcomer
        ]
        return choose(tenants, wanted)

    def enter(self, resident: Resident, lane: Lane, size: int, load_ns: int) -> None:
        """A session of `size` bytes has been loaded."""
        resident.entered(lane, size, load_ns, self._clock.monotonic_ns())
        self.inside[resident.info.id] = resident
        self.used += size

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
        size = resident.bytes
        self._leaving += size

        def release(session: Session) -> None:
            self._leaving -= size
            self.used -= size
            self._freed.set()
            self._close(session, size)

        lane.release_when_idle(release)


def in_units(size: int) -> str:
    """Bytes for people."""
    if size < 1024 * 1024:
        return f"{size / 1024:.0f} KiB"
    mebi = size / 1024**2
    return f"{mebi:.1f} MiB" if mebi < 1024 else f"{mebi / 1024:.2f} GiB"
