"""The event log: topics of partitions, each a sequence of immutable events with rising offsets.

A Protocol of bytes; what an event means is the business of the capability that writes it.
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


class EventWriter(Protocol):
    """Appends to the partitions of one writer slot; one per process, used by one thread."""

    def append(self, topic: str, shard: str, events: Sequence[tuple[int, bytes]]) -> int:
        """Stage events (time_us, value) for the partition (shard, this writer's slot); returns the first offset."""

    def commit(self) -> None:
        """Make everything staged durable in one transaction (fsync); raises OSError and keeps what was staged."""

    def close(self) -> None:
        """Commit what is staged and release the slot."""


class EventReader(Protocol):
    """Reads what is committed; never holds a transaction between calls."""

    def partitions(self, topic: str) -> list[str]:
        """All partitions of a topic that hold or held events, sorted."""

    def read(self, topic: str, position: Position, limit: int) -> list[Event]:
        """Up to `limit` events from `position` on; starts at the oldest kept one when it has been deleted."""

    def end(self, topic: str, partition: str) -> int:
        """The offset that the next event of the partition will get."""

    def tail(self, topic: str, *, shard: str | None = None, last: int = 10) -> Iterator[Event]:
        """The last events by time, merged over partitions, oldest first."""
