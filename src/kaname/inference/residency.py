"""Which versions are in memory: loading, warming, counting who uses them, releasing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from kaname.call import Call, Outcome
from kaname.errors import KanameError, Unavailable
from kaname.inference.lane import Lane
from kaname.models.types import VersionInfo
from kaname.resilience.deadlines import Deadlines
from kaname.runtimes.types import Session

LOG = logging.getLogger("kaname.residency")

OpenSession = Callable[[VersionInfo], Session]
"""Load and warm one version; slow, called on a thread, one at a time."""
MakeLane = Callable[[VersionInfo, Session], Lane]


class Resident:
    """One version as this worker knows it: absent, loading, ready (it has a lane) or failed."""

    __slots__ = ("_waiting", "error", "info", "lane", "loading")

    def __init__(self, info: VersionInfo) -> None:
        self.info = info
        self.lane: Lane | None = None
        self.error: KanameError | None = None
        self.loading = False
        self._waiting: dict[Call, None] = {}

    def wait(self, call: Call) -> None:
        """Keep `call` until the load is over; one that ends before, at its deadline, is let go of at once."""
        self._waiting[call] = None
        call.back(self._forget)

    def _forget(self, call: Call, outcome: Outcome) -> Outcome:
        self._waiting.pop(call, None)
        return outcome

    def release(self) -> list[Call]:
        """The calls that wait, in order; they wait no longer."""
        waiting, self._waiting = self._waiting, {}
        return list(waiting)


class Residency:
    """The versions of one worker. Loads run on a thread one after the other; everything else on the loop."""

    def __init__(self, open_session: OpenSession, make_lane: MakeLane, deadlines: Deadlines) -> None:
        self._open = open_session
        self._make_lane = make_lane
        self._deadlines = deadlines
        self._residents: dict[int, Resident] = {}
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self.loads = 0

    def of(self, info: VersionInfo) -> Resident:
        """The resident of a version, absent at first. A changed `info` (new profile) keeps the session."""
        resident = self._residents.get(info.id)
        if resident is None:
            resident = self._residents[info.id] = Resident(info)
        return resident

    def submit(self, resident: Resident, call: Call) -> None:
        """The infer step: hand the call to the version's lane, loading the version first if need be."""
        lane = resident.lane
        if lane is not None:
            lane.submit(call)
        elif resident.error is not None:
            call.fail(resident.error)
        else:
            self._deadlines.watch(call)
            call.back(self._unwatch)
            resident.wait(call)
            if not resident.loading:
                resident.loading = True
                self._spawn(resident)

    def _unwatch(self, call: Call, outcome: Outcome) -> Outcome:
        self._deadlines.forget(call)
        return outcome

    def _spawn(self, resident: Resident) -> None:
        task = asyncio.get_running_loop().create_task(self._load(resident))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def load(self, infos: Iterable[VersionInfo]) -> dict[int, KanameError]:
        """Make versions resident and return the errors of those that could not be, by version id."""
        residents = [self.of(info) for info in infos]
        for resident in residents:
            if resident.lane is None:
                resident.error = None
                resident.loading = True
                await self._load(resident)
        return {resident.info.id: resident.error for resident in residents if resident.error is not None}

    async def _load(self, resident: Resident) -> None:
        async with self._turn:
            if resident.lane is None:
                try:
                    session = await asyncio.to_thread(self._open, resident.info)
                    resident.lane = self._make_lane(resident.info, session)
                    self.loads += 1
                except Exception as error:  # noqa: BLE001  (one version's failure takes no other down)
                    resident.error = _load_error(resident.info, error)
                    LOG.error("%s@%s: %s", resident.info.model, resident.info.version, resident.error)
            resident.loading = False
        for call in resident.release():
            if resident.lane is not None:
                resident.lane.submit(call)
            else:
                assert resident.error is not None
                call.fail(resident.error)

    def keep(self, ids: set[int]) -> None:
        """Release every ready or failed version that is not in `ids`, after its last call."""
        for version_id in [i for i in self._residents if i not in ids]:
            resident = self._residents[version_id]
            if resident.loading:
                continue
            del self._residents[version_id]
            if resident.lane is not None:
                resident.lane.close_when_idle()
                resident.lane = None

    def ready(self) -> list[VersionInfo]:
        """The versions that are in memory."""
        return [resident.info for resident in self._residents.values() if resident.lane is not None]

    async def close(self) -> None:
        """Release everything."""
        for task in list(self._tasks):
            await asyncio.wait([task])
        self.keep(set())


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
