"""A session that runs with a few numbers of rows only, for a device that plans anew whenever the number changes.

cuDNN's plans of a network of convolutions take most of a second, and ONNX Runtime keeps those of the last run alone:
requests of different numbers of rows in turn would be answered a thousand times slower than requests of the same. So a
few numbers of rows have a session each, what lies between is filled up, and what is larger is divided.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kaname.errors import Unavailable
from kaname.runtimes.types import Session
from kaname.signature import Signature
from kaname.tensors import Tensor

SIZES = (1, 4, 16, 64)

Tensors = tuple[Tensor, ...]


def sized(session: Session, signature: Signature) -> Session:
    """`session`, or one of a few sizes where another number of rows is dear. Only for rows that do not influence each
    other."""
    again: Callable[[], Session] | None = getattr(session, "again", None)
    if again is None or not signature.batched or any(spec.shape[0] != -1 for spec in signature.inputs):
        return session
    return SizedSession(session, again)


class SizedSession:
    """One session per number of rows, opened by `again` when it is first asked for."""

    def __init__(self, first: Session, again: Callable[[], Session]) -> None:
        self.sizes = list(SIZES)
        """Numbers of rows that the device's memory holds, as far as is known."""
        self.device: str = getattr(first, "device", "cpu")
        self._spare: list[Session] = [first]
        self._again = again
        self._by_size: dict[int, Session] = {}

    def run(self, inputs: Tensors) -> Tensors:
        """See `Session.run`; raises Unavailable where the device does not hold even one row."""
        rows = len(inputs[0])
        while True:
            size = next((size for size in self.sizes if size >= rows), self.sizes[-1])
            try:
                return self._fill(size, inputs) if rows <= size else self._divide(size, inputs)
            except Unavailable:
                if size == self.sizes[0]:
                    raise
                self.sizes = self.sizes[: self.sizes.index(size)]
                self._by_size.pop(size, None)

    def _divide(self, size: int, inputs: Tensors) -> Tensors:
        parts = [self._fill(size, tuple(x[i : i + size] for x in inputs)) for i in range(0, len(inputs[0]), size)]
        return tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))

    def _fill(self, size: int, inputs: Tensors) -> Tensors:
        rows = len(inputs[0])
        if rows == size:
            return self._session(size).run(inputs)
        filled = tuple(np.concatenate([x, np.repeat(x[-1:], size - rows, axis=0)]) for x in inputs)
        return tuple(out[:rows] for out in self._session(size).run(filled))

    def _session(self, size: int) -> Session:
        if size not in self._by_size:
            self._by_size[size] = self._spare.pop() if self._spare else self._again()
        return self._by_size[size]

    def close(self) -> None:
        """See `Session.close`."""
        for session in (*self._spare, *self._by_size.values()):
            session.close()
        self._spare, self._by_size = [], {}
