"""What the nodes of a fleet share: values that may vanish at any time, and allowances that all of them draw from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol


class Value(NamedTuple):
    """A value to keep under `key` for `ttl_ms` milliseconds; with `absent` only where there is none."""

    key: str
    data: bytes
    ttl_ms: int
    absent: bool = False


class Draw(NamedTuple):
    """Take rows from an allowance: at least `need`, up to `want` of them; a negative `want` gives some back.

    With a `rate` the allowance is a bucket: so many rows per second flow in, up to `most`. With a rate of 0.0 it is
    `most` rows in all, and begins anew when `ttl_ms` have passed since it was last drawn from (its key names its time).
    """

    key: str
    need: int
    want: int
    rate: float
    most: int
    ttl_ms: int = 0


class Drawn(NamedTuple):
    """`granted` rows: 0, or at least what was needed; what was given back is negative. `missing`: how many rows the
    allowance is short of being whole, after this."""

    granted: int
    missing: float


class SharedStore(Protocol):
    """Methods block for a bounded time: they are called on threads. Each raises Unavailable when nothing of the store
    answers; what it did is then not known."""

    def get(self, keys: Sequence[str]) -> list[bytes | None]:
        """The values of these keys; None for those that are not there, or cannot be had now."""

    def put(self, values: Sequence[Value]) -> None:
        """Keep these values, in place of older ones unless they say otherwise."""

    def draw(self, draws: Sequence[Draw]) -> list[Drawn | None]:
        """Draw from these allowances; each draw is one atomic step. None where the part of the store that has it does
        not answer."""

    def close(self) -> None:
        """Let go of connections; the store may be used again, and connects anew."""


class Channels(Protocol):
    """What all nodes hear at once, if they listen just then: nothing is kept for who does not."""

    def publish(self, channel: str, data: bytes) -> None:
        """Tell all who listen. Blocks for a bounded time; raises Unavailable."""

    def listen(self, channel: str, told: Callable[[bytes], None], left: Callable[[], bool]) -> None:
        """Call `told` with what is published, until `left` says that it is enough; on a thread of its own. A connection
        that breaks is made again; what was published meanwhile is not heard, which is told as nothing: b""."""


class Shared(SharedStore, Channels, Protocol):
    """Both."""
