"""Answers in memory, bounded in bytes; what is asked once makes room before what is asked again.

The order of eviction is S3-FIFO (Yang and others, SOSP 2023): a newcomer begins in a small queue and moves to the main
one only if it is asked again before it reaches the end; keys that fell out are remembered for a while and go to the
main queue at once when they return. A hit costs one dictionary look-up and moves nothing.
"""

from __future__ import annotations

from collections import deque

from kaname.call import Outputs
from kaname.tensors import Tensor

SMALL_SHARE = 0.1
MOST_USES = 3
ENTRY_BYTES = 600
"""What an entry holds beside its key and its tensors."""
READY_ELEMENTS = 64
"""Outputs of at most this many elements keep what was written of them, so that a hit writes it no more."""
ELEMENT_BYTES = 100
"""What is kept of such an element beside its tensor: a number, its text, places in lists."""
LEAST_REMEMBERED = 1024


class Entry:
    """One answer: the tensors of a run, all rows of one request."""

    __slots__ = ("_ready", "expires_ns", "key", "size", "small", "tensors", "uses")

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.uses = 0
        self.small = True
        """Whether it is in the small queue."""

    def fill(self, tensors: tuple[Tensor, ...], expires_ns: int) -> None:
        """Put an answer in, in place of an older one."""
        elements = sum(tensor.size for tensor in tensors)
        ready = elements <= READY_ELEMENTS
        self.tensors = tensors
        self.expires_ns = expires_ns
        self.size = ENTRY_BYTES + len(self.key) + sum(map(_bytes_of, tensors)) + ELEMENT_BYTES * elements * ready
        self._ready = Outputs(tensors, cached=True) if ready else None

    def outputs(self) -> Outputs:
        """The answer as a run's outputs."""
        return self._ready or Outputs(self.tensors, cached=True)


class Memory:
    """At most `max_bytes` of answers. All methods belong to one thread."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: dict[bytes, Entry] = {}
        self._small: deque[Entry] = deque()
        self._main: deque[Entry] = deque()
        self._small_bytes = 0
        self._remembered: dict[bytes, None] = {}
        self.bytes = 0
        """What is held now."""
        self.evicted = 0
        """Answers that made room for others, in all."""

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes, now_ns: int) -> Outputs | None:
        """The answer kept under `key`, unless its time is over."""
        entry = self._entries.get(key)
        if entry is None or entry.expires_ns <= now_ns:
            return None
        if entry.uses < MOST_USES:
            entry.uses += 1
        return entry.outputs()

    def put(self, key: bytes, tensors: tuple[Tensor, ...], expires_ns: int) -> Outputs:
        """Keep an answer if it fits at all; returns it as later calls get it. The tensors are not written to again."""
        entry = Entry(key)
        entry.fill(tensors, expires_ns)
        if entry.size > self._max_bytes:
            return entry.outputs()
        old = self._entries.get(key)
        if old is None:
            self._enter(entry)
        else:
            self._refill(old, entry)
        while self.bytes > self._max_bytes:
            self._evict()
        return entry.outputs()

    def _enter(self, entry: Entry) -> None:
        self._entries[entry.key] = entry
        self.bytes += entry.size
        if entry.key in self._remembered:
            del self._remembered[entry.key]
            entry.small = False
            self._main.append(entry)
        else:
            self._small.append(entry)
            self._small_bytes += entry.size

    def _refill(self, old: Entry, new: Entry) -> None:
        """An answer whose time was over keeps its place in its queue."""
        grown = new.size - old.size
        self.bytes += grown
        if old.small:
            self._small_bytes += grown
        old.fill(new.tensors, new.expires_ns)

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

    def _remember(self, key: bytes) -> None:
        self._remembered[key] = None
        if len(self._remembered) > max(len(self._entries), LEAST_REMEMBERED):
            del self._remembered[next(iter(self._remembered))]


def _bytes_of(tensor: Tensor) -> int:
    size = tensor.nbytes
    return size + sum(33 + len(element) for element in tensor.flat) if tensor.dtype.hasobject else size
