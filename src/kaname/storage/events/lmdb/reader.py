"""Reads the slots of a log folder, from the writer's process or from any other."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path

import msgspec

from kaname.errors import CorruptData
from kaname.storage.events.lmdb import layout
from kaname.storage.events.types import Block, Event, Opener, Position, partition_name, place_of, split_partition
from kaname.storage.mapped.environment import Environment, Transaction, opened, release
from kaname.storage.mapped.filesystem import require_local

READ_BYTES = 16 * 1024 * 1024
"""Most bytes of blocks copied in one transaction (at least one block): a slow reader must not hold space back."""

_events_of = msgspec.msgpack.Decoder(list[tuple[int, bytes]]).decode
_by_time = attrgetter("time_us")


class LmdbReader:
    """`EventReader` over all slots under `folder`; slots that appear later are found. Safe to use from several
    threads until it is closed.

    Raises InvalidInput on a network file system, CorruptData for a newer format, OSError.
    """

    def __init__(self, folder: Path, opener: Opener | None = None) -> None:
        """`opener` decrypts what was sealed; None: nothing was."""
        self._folder = folder
        self._opener = opener
        if folder.exists():
            require_local(folder)
        self._slots: dict[int, Environment] = {}
        self._lock = threading.Lock()

    def _slot_numbers(self) -> list[int]:
        found = self._folder.glob("*/data.mdb") if self._folder.exists() else ()
        return sorted(int(path.parent.name) for path in found if path.parent.name.isdecimal())

    def _environment(self, slot: int) -> Environment | None:
        found = self._slots.get(slot)
        if found is None:
            with self._lock:
                found = self._slots.get(slot)
                if found is None and (self._folder / str(slot) / "data.mdb").exists():
                    found = self._slots[slot] = opened(self._folder / str(slot), layout.FORMAT)
        return found

    def partitions(self, topic: str) -> list[str]:
        """All partitions of a topic that hold or held events, sorted."""
        prefix = layout.PARTITION + topic.encode() + b"\0"
        names: list[str] = []
        for slot in self._slot_numbers():
            environment = self._environment(slot)
            if environment is None:
                continue
            with environment.reading() as txn:
                cursor = txn.cursor()
                found = cursor.set_range(prefix)
                while found and cursor.key().startswith(prefix):
                    names.append(partition_name(cursor.key()[len(prefix) :].decode(), slot))
                    found = cursor.next()
        return sorted(names)

    def end(self, topic: str, partition: str) -> int:
        """The offset that the next event of the partition will get; 0 for one that does not exist."""
        shard, slot = split_partition(partition)
        environment = self._environment(slot)
        if environment is None:
            return 0
        with environment.reading() as txn:
            raw = txn.get(layout.partition_key(topic, shard))
        return layout.partition_of(raw)[1] if raw else 0

    def blocks(self, topic: str, position: Position, limit: int) -> list[Block]:
        """Up to `limit` blocks from the one that holds `position` on; fewer when they are large."""
        return self._copy(topic, position, limit, forward=True)

    def blocks_before(self, topic: str, position: Position, limit: int) -> list[Block]:
        """Up to `limit` blocks that start before `position`, newest first; fewer when they are large."""
        return self._copy(topic, position, limit, forward=False)

    def _copy(self, topic: str, position: Position, limit: int, *, forward: bool) -> list[Block]:
        shard, slot = split_partition(position.partition)
        environment = self._environment(slot)
        if environment is None or limit < 1:
            return []
        with environment.reading() as txn:
            raw = txn.get(layout.partition_key(topic, shard))
            if raw is None:
                return []
            number = layout.partition_of(raw)[0]
            blocks = _walk(txn, number, position, limit, forward=forward)
        return blocks if self._opener is None else [self._opened(self._opener, topic, slot, block) for block in blocks]

    def _opened(self, opener: Opener, topic: str, slot: int, block: Block) -> Block:
        value = opener.open(slot, place_of(topic, block.partition), block.value)
        return block if value is block.value else msgspec.structs.replace(block, value=value)

    def read(self, topic: str, position: Position, limit: int) -> list[Event]:
        """Up to `limit` events from `position` on."""
        events: list[Event] = []
        while len(events) < limit:
            blocks = self.blocks(topic, position, limit)
            if not blocks:
                break
            for block in blocks:
                events += [event for event in _unpack(block) if event.offset >= position.offset]
            position = Position(position.partition, blocks[-1].offset + blocks[-1].count)
        return events[:limit]

    def tail(self, topic: str, *, shard: str | None = None, last: int = 10) -> Iterator[Event]:
        """The last events by time, merged over partitions, oldest first."""
        newest: list[Event] = []
        for partition in self.partitions(topic):
            if shard is None or split_partition(partition)[0] == shard:
                newest = heapq.nlargest(last, newest + self._newest(topic, partition, last), key=_by_time)
        yield from sorted(newest, key=_by_time)

    def _newest(self, topic: str, partition: str, last: int) -> list[Event]:
        found: list[Event] = []
        position = Position(partition, self.end(topic, partition))
        while len(found) < last:
            blocks = self.blocks_before(topic, position, 16)
            if not blocks:
                break
            for block in blocks:
                found += _unpack(block)
            position = Position(partition, blocks[-1].offset)
        return found

    def close(self) -> None:
        """Give the environments back."""
        for environment in self._slots.values():
            release(environment)
        self._slots.clear()


def _walk(txn: Transaction, number: int, position: Position, limit: int, *, forward: bool) -> list[Block]:
    """Copy blocks of one partition around `position`; the caller's transaction ends right after."""
    cursor = txn.cursor()
    low, high = layout.block_key(number, 0), layout.block_key(number + 1, 0)
    key = layout.block_key(number, min(max(position.offset, 0), 2**64 - 1))
    found = cursor.set_range(key)
    if not (forward and found and cursor.key() == key):
        stepped = cursor.prev() if found else cursor.last()  # the block that starts before the position
        if forward and not (stepped and cursor.key() >= low and _ends_after(cursor, position.offset)):
            found = cursor.set_range(key)
        else:
            found = stepped
    blocks: list[Block] = []
    copied = 0
    while found and low <= cursor.key() < high and len(blocks) < limit and copied < READ_BYTES:
        blocks.append(_block(position.partition, cursor.key(), cursor.value()))
        copied += len(blocks[-1].value)
        found = cursor.next() if forward else cursor.prev()
    return blocks


def _ends_after(cursor: Transaction, offset: int) -> bool:
    """Whether the block under the cursor holds `offset` (it starts before it)."""
    count: int = layout.header_of(cursor.value())[1]
    return layout.offset_of(cursor.key()) + count > offset


def _block(partition: str, key: bytes, raw: bytes) -> Block:
    _, count, first_us, last_us, _ = layout.header_of(raw)
    return Block(partition, layout.offset_of(key), count, first_us, last_us, raw[layout.HEADER_BYTES :])


def _unpack(block: Block) -> list[Event]:
    try:
        events = _events_of(block.value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptData(
            "a block does not hold single events",
            where=f"{block.partition}@{block.offset}",
            found=str(error),
            expected="a block written by `append`",
        ) from error
    return [Event(block.partition, block.offset + i, time_us, value) for i, (time_us, value) in enumerate(events)]
