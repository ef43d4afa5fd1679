"""One version as a worker knows it, and what became of it so far."""

from __future__ import annotations

import asyncio

from kaname.call import Call, Outcome
from kaname.errors import KanameError
from kaname.inference.eviction import Tenant
from kaname.inference.lane import Lane
from kaname.models.types import VersionInfo

FIRST_S, LONGEST_S = 1.0, 60.0
"""Pauses after the first failed load, and after many."""


class Resident:
    """Absent, loading, ready (it has a lane) or failed.

    Paths composed for requests keep it for as long as they live. `wanted` says whether it is to be kept at all,
    `needed` how many wait for its load without a call.
    """

    __slots__ = (
        *(
            "_again_ns",
            "_failures",
            "_waiting",
            "asked_ns",
            "bytes",
            "device_bytes",
            "error",
            "evictions",
            "info",
            "lane",
        ),
        *("load_ns", "loading", "loads", "needed", "since_ns", "wanted", "why"),
    )

    def __init__(self, info: VersionInfo) -> None:
        self.info = info
        self.lane: Lane | None = None
        self.error: KanameError | None = None
        self.loading: asyncio.Task[None] | None = None
        self.wanted = True
        self.needed = 0
        self.bytes = 0
        """What its session took when it was last loaded; 0: never measured."""
        self.device_bytes = 0
        """The same of the device's memory."""
        self.load_ns = 0
        """How long its last load took."""
        self.since_ns = 0
        """When its last load ended."""
        self.asked_ns = 0
        """When it was last asked, as of its last eviction."""
        self.loads = 0
        self.evictions = 0
        self.why = ""
        """Of its last eviction, for people."""
        self._failures = 0
        self._again_ns = 0
        self._waiting: dict[Call, None] = {}

    @property
    def name(self) -> str:
        """For people: `model/version`."""
        return f"{self.info.model}/{self.info.version}"

    @property
    def waited_for(self) -> bool:
        """Whether a call waits for the load, or somebody else does."""
        return bool(self._waiting or self.needed)

    @property
    def used_ns(self) -> int:
        """When it was last asked, or loaded; 0: never."""
        return self.asked_ns if self.lane is None else self.lane.used_ns

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

    def failed(self, error: KanameError, now_ns: int) -> None:
        """Its load has failed; whoever asks after a while, longer each time, has it tried again."""
        self.error = error
        self._failures += 1
        self._again_ns = now_ns + int(min(LONGEST_S, FIRST_S * 2 ** (self._failures - 1)) * 1e9)

    def refuses(self, now_ns: int) -> bool:
        """Whether it could not be loaded a moment ago: what is wrong with it, or with its store, may pass."""
        if self.error is not None and now_ns >= self._again_ns:
            self.error = None
        return self.error is not None

    def entered(self, lane: Lane, size: int, device_size: int, load_ns: int, now_ns: int) -> None:
        """Its session has been loaded."""
        self.lane = lane
        self.bytes = size
        self.device_bytes = device_size
        self.load_ns = load_ns
        self.since_ns = now_ns
        self.loads += 1
        self._failures = 0

    def left(self) -> Lane | None:
        """Take the lane away: calls that come from now on wait for another load."""
        lane, self.lane = self.lane, None
        if lane is not None:
            self.asked_ns = lane.used_ns
        return lane

    def tenant(self, lane: Lane, size: int, now_ns: int, *, pinned: bool) -> Tenant:
        """How it stands in memory of which it takes `size`, for the choice of who leaves."""
        return Tenant(
            id=self.info.id,
            bytes=size,
            load_s=self.load_ns / 1e9,
            stay_s=(now_ns - self.since_ns) / 1e9,
            idle_s=(now_ns - lane.used_ns) / 1e9,
            uses=lane.runs,
            busy=lane.busy,
            pinned=pinned,
        )
