"""Which versions are in memory: loaded once, measured, leased while they are used, released after the last call."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, Protocol

from kaname.call import Call, Outcome
from kaname.clock import Clock
from kaname.errors import KanameError, Unavailable
from kaname.inference.lane import Lane
from kaname.inference.ledger import Ledger
from kaname.inference.loads import Loads
from kaname.inference.resident import Resident
from kaname.inference.room import Room
from kaname.inference.shelf import Taken
from kaname.models.types import VersionInfo
from kaname.resilience.deadlines import Deadlines
from kaname.runtimes.device_memory import DeviceMemory, look
from kaname.runtimes.types import Session

LOG = logging.getLogger("kaname.residency")

MakeLane = Callable[[VersionInfo, Session], Lane]


class Loader(Protocol):
    """Opens sessions."""

    def size(self, info: VersionInfo) -> int:
        """Bytes that a session is expected to take; 0: no idea. Cheap: called on the loop."""

    def prepare(self, info: VersionInfo) -> None:
        """Import the library that the version's runtime needs; on the thread that loads."""

    def open(self, info: VersionInfo) -> Session:
        """A session of the version, verified and warm; slow, on the thread that loads."""

    def starts_threads(self, info: VersionInfo) -> bool:
        """Whether its session may have threads of its own. Cheap: called on the loop."""


class Loaded(NamedTuple):
    """A session, what it left in memory, and how long it took."""

    session: Session
    taken: Taken
    load_ns: int


class Residency:
    """The versions of one worker. Loads run on a thread one after the other, in the order in which they were asked
    for, and so does what closes sessions; everything else on the loop.

    A version is loaded when it is first asked and stays until others need its room (`eviction`) or it is no longer
    wanted. What is known of it is found here until it is released: a version that becomes unwanted while it loads, or
    that a late call over an old path brings back, is released after the calls that wait for it.
    """

    def __init__(
        self,
        loader: Loader,
        make_lane: MakeLane,
        deadlines: Deadlines,
        clock: Clock,
        *,
        budget: int,
        device_budget: Callable[[int], int] = lambda total: total,
        ledger: Ledger | None = None,
        device: Callable[[], DeviceMemory | None] = look,
        loaded: Callable[[Room, float], None] = lambda _, __: None,
    ) -> None:
        """`budget`: bytes that all sessions together may take; `device_budget`: the same of a device that has so many
        in all. `loaded` is told of every load, and its seconds. `device`: the device in use, on the loading thread."""
        self._loader = loader
        self._make_lane = make_lane
        self._deadlines = deadlines
        self._clock = clock
        self._told = loaded
        self._residents: dict[int, Resident] = {}
        self._prepared: set[str] = set()
        self._turn = asyncio.Lock()
        self._threads = Loads()
        self.room = Room(budget, clock, self._close)
        self.ledger = ledger or Ledger()
        self._device_budget = device_budget
        self._look = device
        self.loads = 0

    def of(self, info: VersionInfo) -> Resident:
        """The resident of a version that is wanted until `keep` says otherwise, absent at first.

        A changed `info` (new profile) keeps the session.
        """
        resident = self._residents.get(info.id)
        if resident is None:
            resident = self._residents[info.id] = Resident(info)
        resident.wanted = True
        return resident

    def has_room(self, info: VersionInfo) -> bool:
        """Whether the version could be loaded without another one leaving."""
        known = self._residents.get(info.id)
        return self.room.has_room(self._expected(known or Resident(info)))

    def is_ready(self, info: VersionInfo) -> bool:
        """Whether the version is in memory."""
        return self.lane_of(info) is not None

    def lane_of(self, info: VersionInfo) -> Lane | None:
        """The lane of the version; None: it is not in memory."""
        resident = self._residents.get(info.id)
        return None if resident is None else resident.lane

    def submit(self, resident: Resident, call: Call) -> None:
        """The infer step: hand the call to the version's lane, loading the version first if need be."""
        resident = self._present(resident)
        if resident.lane is not None:
            resident.lane.submit(call)
        elif resident.refuses(self._clock.monotonic_ns()):
            assert resident.error is not None
            call.fail(resident.error)
        else:
            self._deadlines.watch(call)
            call.back(self._unwatch)
            resident.wait(call)
            self._begin(resident)

    def _present(self, resident: Resident) -> Resident:
        """The resident that is found here: a path's own may have been released meanwhile."""
        return self._residents.setdefault(resident.info.id, resident)

    def _unwatch(self, call: Call, outcome: Outcome) -> Outcome:
        self._deadlines.forget(call)
        return outcome

    def _begin(self, resident: Resident) -> asyncio.Task[None]:
        """The load of a version: the one in progress, or a new one."""
        if resident.loading is None:
            resident.loading = asyncio.get_running_loop().create_task(self._load(resident))
        return resident.loading

    async def load(self, infos: Iterable[VersionInfo]) -> dict[int, KanameError]:
        """Make versions resident and return the errors of those that could not be, by version id."""
        residents = [self.of(info) for info in infos]
        for resident in residents:
            if resident.lane is None:
                resident.error = None
                await self._loaded(resident)
        return {resident.info.id: resident.error for resident in residents if resident.error is not None}

    async def lease(self, resident: Resident) -> Lane:
        """The lane of a version, loaded if need be and held: `let_go` of it. Raises why it cannot be loaded."""
        resident = self._present(resident)
        while resident.lane is None:
            if resident.refuses(self._clock.monotonic_ns()):
                assert resident.error is not None
                raise resident.error
            await self._loaded(resident)
        resident.lane.hold()
        return resident.lane

    async def _loaded(self, resident: Resident) -> None:
        resident.needed += 1
        try:
            await asyncio.shield(self._begin(resident))  # whoever gives up leaves no session behind
        finally:
            resident.needed -= 1

    async def _load(self, resident: Resident) -> None:
        async with self._turn:
            if resident.waited_for and resident.lane is None:
                await self._bring(resident)
            resident.loading = None
            for call in resident.release():
                if resident.lane is not None:
                    resident.lane.submit(call)
                else:
                    assert resident.error is not None
                    call.fail(resident.error)
            if not resident.wanted:
                self._drop(resident)
            else:
                await self._settle(resident)

    async def _bring(self, resident: Resident) -> None:
        try:
            await self._load_into_room(resident)
        except Exception as error:  # noqa: BLE001  (one version's failure takes no other down)
            resident.failed(_load_error(resident.info, error), self._clock.monotonic_ns())
            LOG.error("%s: %s", resident.name, resident.error)

    async def _load_into_room(self, resident: Resident) -> None:
        info = resident.info
        await self.room.make(self._expected(resident), resident, lambda: resident.waited_for)
        if not resident.waited_for:
            return
        loaded = await self._threads.run(lambda: self._open(info), starts_threads=self._loader.starts_threads(info))
        try:
            self.room.check(resident, loaded.taken)
            lane = self._make_lane(info, loaded.session)
        except Exception:
            loaded.session.close()
            raise
        self.room.enter(resident, lane, loaded.taken, loaded.load_ns)
        self.loads += 1
        self._told(self.room, loaded.load_ns / 1e9)

    def _expected(self, resident: Resident) -> Taken:
        info = resident.info
        return Taken(resident.bytes or self._loader.size(info), resident.device_bytes or info.profile.device_bytes)

    def _open(self, info: VersionInfo) -> Loaded:
        """On the thread that loads."""
        self.ledger.tidy()
        if info.runtime not in self._prepared:
            self.ledger.import_library(lambda: self._loader.prepare(info))
            self._prepared.add(info.runtime)
        began = self._clock.monotonic_ns()
        before = self._look()
        session, size = self.ledger.measure(lambda: self._loader.open(info), self._loader.size(info))
        took_ns = self._clock.monotonic_ns() - began
        on_device = getattr(session, "device", "cpu") != "cpu"
        return Loaded(session, Taken(size, self._on_device(before) if on_device else 0), took_ns)

    def _on_device(self, before: DeviceMemory | None) -> int:
        """What was taken of the device since; by others at the same time, too."""
        after = self._look()
        if after is None or before is None:
            return 0
        self.room.device.budget = self._device_budget(after.total)
        return max(after.used - before.used, 0)

    def _close(self, session: Session, size: int) -> None:
        try:
            self._threads.submit(lambda: self._closed(session, size))
        except RuntimeError:  # the threads have ended, as the process will
            session.close()

    def _closed(self, session: Session, size: int) -> None:
        """On the thread that loads, whose share of the allocator the session's memory is: to give it back on the loop
        would hold up requests while that share is weighed or trimmed."""
        try:
            session.close()
        except Exception:
            LOG.exception("a session could not be closed")
        self.ledger.freed(size)

    async def _settle(self, resident: Resident) -> None:
        """Where a session took more than was expected, others make room afterwards."""
        if resident.lane is not None:
            await self.room.make(Taken(0), resident, lambda: resident.lane is not None)

    def pin(self, ids: set[int]) -> None:
        """These versions, and no others, never make room once they are in memory."""
        self.room.pinned = ids

    def forgive(self) -> None:
        """Let the next call try again what could not be loaded: something has changed since."""
        for resident in self._residents.values():
            resident.error = None

    def keep(self, ids: set[int]) -> None:
        """Release every version that is not in `ids`, after its last call; one that loads as soon as it has loaded."""
        for resident in list(self._residents.values()):
            resident.wanted = resident.info.id in ids
            if not resident.wanted and resident.loading is None:
                self._drop(resident)

    def _drop(self, resident: Resident) -> None:
        del self._residents[resident.info.id]
        resident.error, resident.wanted = None, False
        self.room.leave(resident)

    def ready(self) -> list[VersionInfo]:
        """The versions that are in memory."""
        return [resident.info for resident in self.room.inside.values()]

    def known(self) -> list[Resident]:
        """Every version that was ever asked and is still wanted."""
        return list(self._residents.values())

    async def close(self) -> None:
        """Release everything."""
        while loading := [resident.loading for resident in self._residents.values() if resident.loading is not None]:
            await asyncio.wait(loading)
        self.keep(set())
        await asyncio.to_thread(self._threads.shutdown)


def _load_error(info: VersionInfo, error: Exception) -> KanameError:
    if isinstance(error, Unavailable):
        return error
    loaded = Unavailable(f"version {info.version} of model {info.model} could not be loaded: {error}")
    loaded.__cause__ = error
    return loaded


def artefact_file(folder: Path, info: VersionInfo) -> Path:
    """The file of an artefact that the chosen runtime reads."""
    for choice in info.choices:
        if choice.chosen:
            return folder / choice.file
    raise Unavailable(f"version {info.version} of model {info.model} names no runtime that was chosen")
