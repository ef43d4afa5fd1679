"""A residency whose loads, sizes and clock a test decides."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

from kaname.clock import ManualClock
from kaname.errors import CorruptData
from kaname.inference.lane import Lane
from kaname.inference.ledger import Ledger
from kaname.inference.residency import Residency
from kaname.models.types import VersionInfo
from kaname.resilience.deadlines import Deadlines
from kaname.runtimes.device_memory import DeviceMemory
from kaname.runtimes.types import Profile, Session

from .runtime import ROWS, Asked, RowRuntime

T = TypeVar("T")


def version(number: int) -> VersionInfo:
    return VersionInfo(
        id=number,
        model="m",
        model_id=1,
        version=str(number),
        status="deployed",
        artefact="a" * 64,
        source="onnx",
        runtime="onnx",
        signature=ROWS,
        profile=Profile(rows=(1,), us=(1.0,), best_rows=4, exact=True, splits=True),
        created_us=0,
    )


class Scales(Ledger):
    """Weighs a session as the test says."""

    def __init__(self, weight: Callable[[], int]) -> None:
        super().__init__()
        self._weight = weight

    def measure(self, work: Callable[[], T], expected: int = 0) -> tuple[T, int]:
        return work(), self._weight()


class House:
    """A residency whose loads the test holds, counts and fails."""

    def __init__(self, budget: int, device_budget: int = 0) -> None:
        """`device_budget`: of a device that sessions run on; 0: they run on none."""
        self.clock = ManualClock()
        self.last = 0
        self.go = threading.Event()
        self.go.set()
        self.opened: list[int] = []
        self.inside = 0
        self.most = 0
        self.bad: set[int] = set()
        self.sessions: dict[int, RowRuntime] = {}
        loop = asyncio.get_running_loop()
        self.deadlines = Deadlines(self.clock, loop)
        self.sizes: dict[int, int] = {}
        """What versions are expected to take."""
        self.taken: dict[int, int] = {}
        """What they take, where that is not what was expected."""
        self.threaded: set[int] = set()
        """Versions whose sessions have threads of their own."""
        self.opened_on: dict[int, str] = {}
        """The thread on which each was opened last."""
        self.load_ms = 0.0
        self.device_sizes: dict[int, int] = {}
        """What versions take of the device."""
        self.on_device = 0
        self.residency = Residency(
            self,
            self.make_lane,
            self.deadlines,
            self.clock,
            budget=budget,
            device_budget=lambda total: total // 2,
            ledger=Scales(lambda: self.last),
            device=lambda: DeviceMemory(used=self.on_device, total=2 * device_budget) if device_budget else None,
        )

    def size(self, info: VersionInfo) -> int:
        return self.sizes.get(info.id, 0)

    def prepare(self, info: VersionInfo) -> None:
        return

    def starts_threads(self, info: VersionInfo) -> bool:
        return info.id in self.threaded

    def open(self, info: VersionInfo) -> Session:
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            self.opened.append(info.id)
            self.opened_on[info.id] = threading.current_thread().name
            self.last = self.taken.get(info.id, self.sizes.get(info.id, 0))
            assert self.go.wait(20)
            self.clock.advance(ms=self.load_ms)
            if info.id in self.bad:
                raise CorruptData("the file is damaged")
            self.on_device += self.device_sizes.get(info.id, 0)
            self.sessions[info.id] = RowRuntime("cuda" if info.id in self.device_sizes else "cpu")
            return self.sessions[info.id]
        finally:
            self.inside -= 1

    def make_lane(self, info: VersionInfo, session: Session) -> Lane:
        loop = asyncio.get_running_loop()
        return Lane(session, ROWS, best_rows=4, loop=loop, clock=self.clock, deadlines=self.deadlines)

    def ask(self, info: VersionInfo, value: float = 1.0, ms: float = 0) -> Asked:
        asked = Asked([[value, 0, 0]], as_table=True, clock=self.clock, ms=ms)
        self.residency.submit(self.residency.of(info), asked.call)
        return asked

    async def gone(self, number: int) -> None:
        """Return when the version's newest session has been closed."""
        while not self.sessions[number].closed:
            await asyncio.sleep(0.0005)


def run(scenario: Callable[[House], Awaitable[None]], budget: int = 1_000_000, device_budget: int = 0) -> None:
    async def main() -> None:
        house = House(budget, device_budget)
        await asyncio.wait_for(scenario(house), 20)
        await house.residency.close()
        house.deadlines.close()
        await asyncio.sleep(0)
        assert all(session.closed == 1 for session in house.sessions.values()), "a session was not released"

    asyncio.run(main())


async def ended(*asked: Asked) -> None:
    while not all(one.call.done for one in asked):
        await asyncio.sleep(0.0005)
