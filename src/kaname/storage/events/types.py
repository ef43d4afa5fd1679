"""The event log: topics of partitions, each a sequence of immutable events with rising offsets.

A Protocol of bytes; what an event means is the business of the capability that writes it. Events travel in
blocks: many events in one value, written and deleted together. `append` packs events that stand alone;
`append_block` takes a block that the capability has encoded as a whole (columns over many events are several
times cheaper than one value each), and `blocks` hands it back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import msgspec


class Position(msgspec.Struct, frozen=True, order=True):
    """A place in one partition: the next offset to read."""

    partition: str
    offset: int


class Event(msgspec.Struct, frozen=True):
    """One event as read: where it lies, when it happened (µs since epoch), and its bytes."""

    partition: str
    offset: int
    time_us: int
    value: bytes


class Block(msgspec.Struct, frozen=True):
    """Events `offset` to `offset + count - 1` of a partition in one value.

    `first_us` and `last_us` are the earliest and latest event times in it (µs since epoch).
    """

    partition: str
    offset: int
    count: int
    first_us: int
    last_us: int
    value: bytes


class EventWriter(Protocol):
    """Appends to the partitions of one writer slot; one per process, used by one thread."""

    def append(self, topic: str, shard: str, events: Sequence[tuple[int, bytes]]) -> int:
        """Stage events (time_us, value) for the partition (shard, this writer's slot); returns the first offset."""

    def append_block(self, topic: str, shard: str, count: int, first_us: int, last_us: int, value: bytes) -> int:
        """Stage a block of `count` events that the caller encoded itself; returns the first offset."""

    def rewrite(self, topic: str, shard: str, offset: int, value: bytes) -> bool:
        """Replace the value of the committed block that starts at `offset`, durably; False when it is gone.

        Offsets, count and times stay. This is for the deletion of what must not be kept, nothing else.
        Raises OSError like `commit`.
        """

    def commit(self) -> None:
        """Make everything staged durable in one transaction (fsync); raises OSError and keeps what was staged."""

    def close(self) -> None:
        """Commit what is staged and release the slot."""


class EventReader(Protocol):
    """Reads what is committed; never holds a transaction between calls."""

    def partitions(self, topic: str) -> list[str]:
        """All partitions of a topic that hold or held events, sorted; each is named `shard/slot`."""

    def read(self, topic: str, position: Position, limit: int) -> list[Event]:
        """Up to `limit` events from `position` on; starts at the oldest kept one when it has been deleted.

        Only for partitions filled by `append`; raises CorruptData at a block of another encoding.
        """

    def blocks(self, topic: str, position: Position, limit: int) -> list[Block]:
        """Up to `limit` blocks, the first of them the one that holds `position` (or the oldest kept after it)."""

    def blocks_before(self, topic: str, position: Position, limit: int) -> list[Block]:
        """Up to `limit` blocks that start before `position`, newest first."""

    def end(self, topic: str, partition: str) -> int:
        """The offset that the next event of the partition will get."""

    def tail(self, topic: str, *, shard: str | None = None, last: int = 10) -> Iterator[Event]:
        """The last events by time, merged over partitions, oldest first; same limits as `read`."""

    def close(self) -> None:
        """Give back what was opened; the reader is not used afterwards."""


class Sealer(Protocol):
    """Encrypts the blocks of one writer."""

    def seal(self, place: str, value: bytes) -> bytes:
        """The value as it goes to the disk, for a partition of a topic."""

    def settle(self) -> None:
        """Make durable what opening the sealed values will need; before they are. Raises OSError."""


class Opener(Protocol):
    """Decrypts the blocks of any writer."""

    def open(self, slot: int, place: str, value: bytes) -> bytes:
        """The value as it was before `seal`. Raises Unavailable for a key that is missing, CorruptData."""


def place_of(topic: str, partition: str) -> str:
    """How sealers name a partition: a block opens nowhere else."""
    return f"{topic}/{partition}"


def partition_name(shard: str, slot: int) -> str:
    """The name of the partition that writer `slot` fills for `shard`."""
    return f"{shard}/{slot}"


def split_partition(partition: str) -> tuple[str, int]:
    """Shard and writer slot of a partition's name."""
    shard, _, slot = partition.rpartition("/")
    return shard, int(slot)
