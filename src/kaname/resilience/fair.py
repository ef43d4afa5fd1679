"""Requests that wait: important ones first, and within a priority fairly between those who ask.

Within a level the order is that of start-time fair queueing (Goyal, Vin and Cheng, "Start-time Fair Queuing", SIGCOMM
1996) for requests of equal cost: one who asks seldom goes before one who asks all the time, and those who ask alike
take turns.
"""

from __future__ import annotations

from collections.abc import Hashable
from heapq import heappop, heappush
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)

TURN = 8
"""Of so many requests that are taken one is of the least important level that waits, so that none starves."""
REMEMBERED = 1024
"""Owners whose place is remembered before those that have no claim against them are forgotten."""


class FairQueue(Generic[T]):
    """Items by level (0 is the most important) and owner, each with the time since when it waits."""

    __slots__ = ("_levels", "_taken", "size")

    def __init__(self, levels: int) -> None:
        self._levels = [_Level[T]() for _ in range(levels)]
        self._taken = 0
        self.size = 0

    def ahead(self, level: int) -> int:
        """How many wait that are at least as important."""
        return sum(len(one.items) for one in self._levels[: level + 1])

    def waits(self, level: int, owner: str) -> bool:
        """Whether the owner has something waiting at the level."""
        return owner in self._levels[level].counts

    def oldest(self, level: int) -> tuple[T, int] | None:
        """Who waits longest at the level, and since when; None when nothing waits there."""
        items = self._levels[level].items
        if not items:
            return None
        item = next(iter(items))
        return item, items[item][1]

    def push(self, level: int, owner: str, item: T, since_ns: int) -> None:
        """Let an item wait that does not wait yet."""
        self._levels[level].push(owner, item, since_ns)
        self.size += 1

    def remove(self, level: int, item: T) -> None:
        """Take an item out; nothing happens when it does not wait."""
        if self._levels[level].remove(item):
            self.size -= 1

    def pop(self) -> tuple[T, int, bool] | None:
        """The next item, since when it waits, and whether it is taken for its level's turn; None when nothing waits."""
        busy = [one for one in self._levels if one.items]
        if not busy:
            return None
        self._taken += 1
        self.size -= 1
        in_turn = len(busy) > 1 and self._taken % TURN == 0
        item, since_ns = busy[-1 if in_turn else 0].pop()
        return item, since_ns, in_turn

    def unserved(self, level: int, owner: str) -> None:
        """What was taken of the owner was not served after all: it has not had its turn."""
        self._levels[level].give_back(owner)

    def evict(self, level: int) -> T | None:
        """Take out an item less important than `level`: the newest of the owner who has most; None without one."""
        for lower in reversed(self._levels[level + 1 :]):
            if lower.items:
                self.size -= 1
                return lower.evict()
        return None


class _Level(Generic[T]):
    """One priority. An item's tag is when its service would begin were all owners served in turn."""

    __slots__ = ("_count", "_ends", "_heap", "_now", "counts", "items")

    def __init__(self) -> None:
        self.items: dict[T, tuple[str, int]] = {}
        self.counts: dict[str, int] = {}
        self._heap: list[tuple[int, int, T]] = []
        self._ends: dict[str, int] = {}
        self._now = 0
        self._count = 0

    def push(self, owner: str, item: T, since_ns: int) -> None:
        tag = max(self._now, self._ends.get(owner, 0))
        if len(self._ends) >= REMEMBERED:
            self._ends = {one: end for one, end in self._ends.items() if end > self._now}
        self._ends[owner] = tag + 1
        self._count += 1
        heappush(self._heap, (tag, self._count, item))
        self.items[item] = owner, since_ns
        self.counts[owner] = self.counts.get(owner, 0) + 1

    def pop(self) -> tuple[T, int]:
        while True:
            tag, _, item = heappop(self._heap)
            if item in self.items:  # what was removed stays in the heap until its turn
                self._now = tag
                since_ns = self.items[item][1]
                self.remove(item)
                return item, since_ns

    def remove(self, item: T) -> bool:
        found = self.items.pop(item, None)
        if found is None:
            return False
        owner = found[0]
        self.counts[owner] -= 1
        if not self.counts[owner]:
            del self.counts[owner]
        return True

    def give_back(self, owner: str) -> None:
        if owner in self._ends:
            self._ends[owner] -= 1

    def evict(self) -> T:
        most = max(self.counts, key=self.counts.__getitem__)
        item = next(item for item in reversed(self.items) if self.items[item][0] == most)
        self.remove(item)
        return item
