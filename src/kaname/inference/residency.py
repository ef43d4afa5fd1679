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
    """One version as this worker knows it: absent, loading, ready (it has a lane) or failed.

    Paths composed for requests keep it for as long as they live; `wanted` says whether it is to stay in memory.
    """

    __slots__ = ("_waiting", "error", "info", "lane", "loading", "wanted")

    def __init__(self, info: VersionInfo) -> None:
        self.info = info
        self.lane: Lane | None = None
        self.error: KanameError | None = None
        self.loading: asyncio.Task[None] | None = None
        self.wanted = True
        self._waiting: dict[Call, None] = {}

    @property
    def waited_for(self) -> bool:
        """Whether a call waits for the load."""
        return bool(self._waiting)

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
    """The versions of one worker. Loads run on a thread one after the other; everything else on the loop.

    What is in memory is found here until it is released: a version that becomes unwanted while it loads, or that a
    late call over an old path brings back, is released after the calls that wait for it.
    """

    def __init__(self, open_session: OpenSession, make_lane: MakeLane, deadlines: Deadlines) -> None:
        self._open = open_session
        self._make_lane = make_lane
        self._deadlines = deadlines
        self._residents: dict[int, Resident] = {}
        self._turn = asyncio.Lock()
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

    def is_ready(self, info: VersionInfo) -> bool:
        """Whether the version is in memory."""
        resident = self._residents.get(info.id)
        return resident is not None and resident.lane is not None

    def submit(self, resident: Resident, call: Call) -> None:
        """The infer step: hand the call to the version's lane, loading the version first if need be."""
        resident = self._residents.setdefault(resident.info.id, resident)  # it may have been released meanwhile
        if resident.lane is not None:
            resident.lane.submit(call)
        elif resident.error is not None:
            call.fail(resident.error)
        else:
            self._deadlines.watch(call)
            call.back(self._unwatch)
            resident.wait(call)
            self._begin(resident)

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
                await asyncio.shield(self._begin(resident))  # whoever gives up leaves no session behind
        return {resident.info.id: resident.error for resident in residents if resident.error is not None}

    async def _load(self, resident: Resident) -> None:
        async with self._turn:
            if resident.wanted or resident.waited_for:
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

    async def _bring(self, resident: Resident) -> None:
        try:
            session = await asyncio.to_thread(self._open, resident.info)
            resident.lane = self._make_lane(resident.info, session)
            self.loads += 1
        except Exception as error:  # noqa: BLE001  (one version's failure takes no other down)
            resident.error = _load_error(resident.info, error)
            LOG.error("%s@%s: %s", resident.info.model, resident.info.version, resident.error)

    def keep(self, ids: set[int]) -> None:
        """Release every version that is not in `ids`, after its last call; one that loads as soon as it has loaded."""
        for resident in list(self._residents.values()):
            resident.wanted = resident.info.id in ids
            if not resident.wanted and resident.loading is None:
                self._drop(resident)

    def _drop(self, resident: Resident) -> None:
        del self._residents[resident.info.id]
        lane, resident.lane, resident.error, resident.wanted = resident.lane, None, None, False
        if lane is not None:
            lane.close_when_idle()

    def ready(self) -> list[VersionInfo]:
        """The versions that are in memory."""
        return [resident.info for resident in self._residents.values() if resident.lane is not None]

    async def close(self) -> None:
        """Release everything."""
        while loading := [resident.loading for resident in self._residents.values() if resident.loading is not None]:
            await asyncio.wait(loading)
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
