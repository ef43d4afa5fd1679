"""Answers in memory, bounded in bytes; what is asked once makes room before what is asked again (`resilience.fifo`)."""

from __future__ import annotations

from kaname.call import Outputs
from kaname.resilience.fifo import Fifo, Held
from kaname.tensors import Tensor

ENTRY_BYTES = 600
"""What an entry holds beside its key and its tensors."""
READY_ELEMENTS = 64
"""Outputs of at most this many elements keep what was written of them, so that a hit writes it no more."""
ELEMENT_BYTES = 100
"""What is kept of such an element beside its tensor: a number, its text, places in lists."""


class Entry(Held):
    """One answer: the tensors of a run, all rows of one request."""

    __slots__ = ("_ready", "expires_ns", "tensors")

    def fill(self, tensors: tuple[Tensor, ...], expires_ns: int) -> int:
        """Put an answer in, in place of an older one; returns its size."""
        elements = sum(tensor.size for tensor in tensors)
        ready = elements <= READY_ELEMENTS
        self.tensors = tensors
        self.expires_ns = expires_ns
        self._ready = Outputs(tensors, cached=True) if ready else None
        assert isinstance(self.key, bytes)
        return ENTRY_BYTES + len(self.key) + sum(map(_bytes_of, tensors)) + ELEMENT_BYTES * elements * ready

    def outputs(self) -> Outputs:
        """The answer as a run's outputs."""
        return self._ready or Outputs(self.tensors, cached=True)


class Memory(Fifo[Entry]):
    """At most `max_bytes` of answers. All methods belong to one thread."""

    def get(self, key: bytes, now_ns: int) -> Outputs | None:
        """The answer kept under `key`, unless its time is over."""
        entry = self._entries.get(key)
        if entry is None or entry.expires_ns <= now_ns:
            return None
        self.find(key)
        return entry.outputs()

    def put(self, key: bytes, tensors: tuple[Tensor, ...], expires_ns: int) -> Outputs:
        """Keep an answer if it fits at all; returns it as later calls get it. The tensors are not written to again."""
        entry = Entry(key)
        entry.size = entry.fill(tensors, expires_ns)
        old = self._entries.get(key)
        if not self.fits(entry.size):
            return entry.outputs()
        if old is None:
            self.enter(entry)
        else:  # an answer whose time was over
            self.resize(old, old.fill(tensors, expires_ns))
        return entry.outputs()


def _bytes_of(tensor: Tensor) -> int:
    size = tensor.nbytes
    return size + sum(33 + len(element) for element in tensor.flat) if tensor.dtype.hasobject else size
