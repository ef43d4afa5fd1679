"""Reads the prediction record: the last events, what comes in, a span of time, one request."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from operator import attrgetter

import msgspec

from kaname.errors import InvalidInput, NotFound
from kaname.predictions.decoding import decode
from kaname.predictions.types import TOPIC, Prediction, Status, Subject
from kaname.storage.events.types import Block, EventReader, Position, split_partition

BLOCKS_AT_ONCE = 16
_by_time = attrgetter("time_us")


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which events; None: any. Times are µs since the Unix epoch, `until_us` excluded."""

    model: str | None = None
    status: Status | None = None
    since_us: int | None = None
    until_us: int | None = None
    trace_id: str | None = None

    def of_block(self, block: Block) -> bool:
        """Whether a block can hold an event that matches."""
        return (
            (self.since_us is None or block.last_us >= self.since_us)
            and (self.until_us is None or block.first_us < self.until_us)
            and (self.trace_id is None or self.trace_id.encode() in block.value)
        )

    def of_event(self, event: Prediction) -> bool:
        """Whether an event of a partition of the model matches."""
        return (
            (self.status is None or event.status == self.status)
            and (self.trace_id is None or event.trace_id == self.trace_id)
            and (self.since_us is None or event.time_us >= self.since_us)
            and (self.until_us is None or event.time_us < self.until_us)
        )


EVERYTHING = Query()
Marks = dict[str, int]
"""The end offset per partition: how much of the record there was at a moment."""


class PredictionReader:
    """The prediction record as a person or an analysis sees it; safe to use from several threads.

    `erase` deletes a subject's events in all writer slots and returns their number.
    """

    def __init__(self, log: EventReader, erase: Callable[[Subject], int]) -> None:
        self._log = log
        self._erase = erase

    def marks(self, model: str | None = None) -> Marks:
        """Where the record ends now."""
        return {
            partition: self._log.end(TOPIC, partition)
            for partition in self._log.partitions(TOPIC)
            if model is None or split_partition(partition)[0] == model
        }

    def tail(self, query: Query = EVERYTHING, *, last: int = 10, until: Marks | None = None) -> list[Prediction]:
        """The last events by time that match and were recorded before `until` (default: now), oldest first."""
        newest: list[Prediction] = []
        for partition, end in (self.marks(query.model) if until is None else until).items():
            found = self._newest(Position(partition, end), query, last)
            newest = heapq.nlargest(last, newest + found, key=_by_time)
        return sorted(newest, key=_by_time)

    def _newest(self, position: Position, query: Query, last: int) -> list[Prediction]:
        found: list[Prediction] = []
        while len(found) < last:
            blocks = self._log.blocks_before(TOPIC, position, BLOCKS_AT_ONCE)
            if not blocks or (query.since_us is not None and blocks[0].last_us < query.since_us):
                break
            found += _matching(blocks, query)
            position = Position(position.partition, blocks[-1].offset)
        return found

    def scan(self, query: Query = EVERYTHING, *, until: Marks | None = None) -> Iterator[Prediction]:
        """All events that match and were recorded before `until` (default: now), partition by partition."""
        for partition, end in (self.marks(query.model) if until is None else until).items():
            position = Position(partition, 0)
            while position.offset < end:
                blocks = self._log.blocks(TOPIC, position, BLOCKS_AT_ONCE)
                if not blocks:
                    break
                yield from (event for event in _matching(blocks, query) if event.offset < end)
                position = Position(partition, blocks[-1].offset + blocks[-1].count)

    def follow(self, query: Query = EVERYTHING, *, since: Marks | None = None) -> Callable[[], list[Prediction]]:
        """A function that returns, at each call, the matching events recorded since the call before.

        The first call returns those since `since` (default: now).
        """
        seen = dict(self.marks(query.model) if since is None else since)

        def more() -> list[Prediction]:
            found: list[Prediction] = []
            for partition, end in self.marks(query.model).items():
                position = Position(partition, seen.get(partition, 0))
                while position.offset < end:
                    blocks = self._log.blocks(TOPIC, position, BLOCKS_AT_ONCE)
                    if not blocks:
                        break
                    found += _matching(blocks, query)
                    position = Position(partition, blocks[-1].offset + blocks[-1].count)
                seen[partition] = position.offset
            return sorted(found, key=_by_time)

        return more

    def find(self, request_id: str) -> Prediction:
        """The newest event of a request; reads the whole record if need be. Raises NotFound."""
        needle = request_id.encode()
        found: Prediction | None = None
        for partition in self.marks():
            position = Position(partition, self._log.end(TOPIC, partition))
            while blocks := self._log.blocks_before(TOPIC, position, BLOCKS_AT_ONCE):
                for event in _matching([block for block in blocks if needle in block.value], EVERYTHING):
                    if event.request_id == request_id and (found is None or event.time_us > found.time_us):
                        found = event
                position = Position(partition, blocks[-1].offset)
        if found is None:
            raise NotFound("no such request in the prediction record", where="request_id", found=request_id)
        return found

    def delete(self, subject: Subject) -> int:
        """Delete the events of a subject for good; returns their number.

        Raises InvalidInput for a subject without conditions, Unavailable when an owner of a slot does not react.
        """
        if not (subject.request_ids or subject.key_id is not None or subject.inputs):
            raise InvalidInput("deletion needs a condition", expected="request_ids, key_id or inputs")
        return self._erase(subject)

    def close(self) -> None:
        """Give the log back; the reader is not used afterwards."""
        self._log.close()


def _matching(blocks: list[Block], query: Query) -> list[Prediction]:
    return [event for block in blocks if query.of_block(block) for event in decode(block) if query.of_event(event)]
