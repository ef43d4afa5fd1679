"""The second look: answers that another worker or node has kept where all of them can find it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

from blake3 import blake3

from kaname.inference.cache.wire import read, written
from kaname.models.types import VersionInfo
from kaname.tensors import Tensor

T = TypeVar("T")
Tensors = tuple[Tensor, ...]
LARGEST_BYTES = 1024 * 1024
"""A larger answer stays in its worker."""


class Remote(Protocol):
    """What keeps values for all nodes; asked on the loop, answered by callback within a short time."""

    def get(self, key: str, read: Callable[[bytes], T | None], then: Callable[[T | None], None], /) -> None:
        """Tell `then` what `read` makes of the value of `key`; None where there is none or nobody answers."""

    def put(self, key: str, size: int, write: Callable[[], bytes], ttl_ms: int, /) -> None:
        """Keep what `write` returns, about `size` bytes, if that can be done."""


class Fleet:
    """The kept answers of one version as all nodes see them.

    A key holds the artefact's hash beside the version's number, so that projects which share a store never see each
    other's answers.
    """

    def __init__(self, remote: Remote, info: VersionInfo, ttl_ms: float) -> None:
        self._remote = remote
        self._signature = info.signature
        self._prefix = f"answer:{info.artefact[:32]}:{info.runtime}:"
        self._ttl_ms = int(ttl_ms)

    def find(self, key: bytes, then: Callable[[Tensors | None], None]) -> None:
        """Tell `then` the answer kept under `key`, or None."""
        name = self._name(key)
        self._remote.get(name, partial(read, name, self._signature), then)

    def keep(self, key: bytes, tensors: Tensors) -> None:
        """Let others find an answer."""
        size = sum(tensor.nbytes for tensor in tensors)
        if size <= LARGEST_BYTES:
            name = self._name(key)
            self._remote.put(name, size, partial(written, name, tensors), self._ttl_ms)

    def _name(self, key: bytes) -> str:
        return self._prefix + blake3(key).hexdigest()
