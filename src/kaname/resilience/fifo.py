"""Things in memory, bounded in bytes; what is asked once makes room before what is asked again.

The order of eviction is S3-FIFO (Yang and others, SOSP 2023): a newcomer begins in a small queue and moves to the main
one only if it is asked again before it reaches the end; keys that fell out are remembered for a while and go to the
main queue at once when they return. A hit costs one dictionary look-up and moves nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

SMALL_SHARE = 0.1
MOST_USES = 3
LEAST_REMEMBERED = 1024


class Held:
    """Something that is kept under a key; its size may change only by `Fifo.resize`."""

    __slots__ = ("key", "size", "small", "uses")

    def __init__(self, key: Hashable, size: int = 0) -> None:
        self.key = key
        self.size = size
        self.uses = 0
        self.small = True
        """Whether it is in the small queue."""


H = TypeVar("H", bound=Held)


class Fifo(Generic[H]):
    """At most `max_bytes`. Methods belong to one thread; `find` may be called by others, too."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: dict[Hashable, H] = {}
        self._small: deque[H] = deque()
        self._main: deque[H] = deque()
        self._small_bytes = 0
        self._remembered: dict[Hashable, None] = {}
        self.bytes = 0
        """What is held now."""
        self.evicted = 0
        """Things that made room for others, in all."""

    def __len__(self) -> int:
        return len(self._entries)

    def peek(self, key: Hashable) -> H | None:
        """What is kept under `key`; that counts as no use."""
        return self._entries.get(key)

    def find(self, key: Hashable) -> H | None:
        """What is kept under `key`."""
        entry = self._entries.get(key)
        if entry is not None and entry.uses < MOST_USES:
            entry.uses += 1
        return entry

    def fits(self, size: int) -> bool:
        """Whether something of that size can be kept at all."""
        return size <= self._max_bytes

    def enter(self, entry: H) -> None:
        """Keep something that fits, under a key that is new."""
        self._entries[entry.key] = entry
        self.bytes += entry.size
        if entry.key in self._remembered:
            del self._remembered[entry.key]
            entry.small = False
            self._main.append(entry)
        else:
            self._small.append(entry)
            self._small_bytes += entry.size
        self._make_room()

    def resize(self, entry: H, size: int) -> None:
        """What is kept has changed to this size; it keeps its place in its queue."""
        grown = size - entry.size
        entry.size = size
        self.bytes += grown
        if entry.small:
            self._small_bytes += grown
        self._make_room()

    def _make_room(self) -> None:
        while self.bytes > self._max_bytes:
            self._evict()

    def _evict(self) -> None:
        if self._small and (self._small_bytes > self._max_bytes * SMALL_SHARE or not self._main):
            entry = self._small.popleft()
            self._small_bytes -= entry.size
            if entry.uses:
                entry.uses, entry.small = 0, False
                self._main.append(entry)
                return
            self._remember(entry.key)
        else:
            entry = self._main.popleft()
            if entry.uses:
                entry.uses -= 1
                self._main.append(entry)
                return
        del self._entries[entry.key]
        self.bytes -= entry.size
        self.evicted += 1

    def _remember(self, key: Hashable) -> None:
        self._remembered[key] = None
        if len(self._remembered) > max(len(self._entries), LEAST_REMEMBERED):
            del self._remembered[next(iter(self._remembered))]
