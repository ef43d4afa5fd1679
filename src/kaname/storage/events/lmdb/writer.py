"""The writer of one slot: stages blocks in memory and commits them in one durable transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from kaname.clock import Clock
from kaname.storage.events.lmdb import layout
from kaname.storage.events.lmdb.slot import SlotLock
from kaname.storage.events.types import Sealer, partition_name, place_of
from kaname.storage.mapped.environment import MIB, Environment, Transaction, opened, release
from kaname.storage.mapped.filesystem import require_local

DAY_US = 86_400_000_000
TRIM_AT_ONCE = 1024
EXPIRE_AT_ONCE = 256
"""Most blocks deleted for their age in one transaction; those beyond the size limit go regardless."""

_Work = Callable[[Transaction], tuple[int, int]]
"""Changes the database and returns the bytes kept and the next sequence number."""

_pack = msgspec.msgpack.Encoder().encode


class _Partition:
    """Number and next offset of a partition, as staged."""

    __slots__ = ("key", "next_offset", "number")

    def __init__(self, key: bytes, number: int, next_offset: int) -> None:
        self.key = key
        self.number = number
        self.next_offset = next_offset


class _Staged(msgspec.Struct, frozen=True):
    partition: _Partition
    offset: int
    encoding: int
    count: int
    first_us: int
    last_us: int
    value: bytes


class LmdbWriter:
    """`EventWriter` on one LMDB environment under `folder/<slot>/`.

    Keeps at most `retain_bytes` on disk and nothing older than `retain_days`: whole blocks go, oldest first,
    and their space is used again. Raises Conflict when a live process owns the slot, InvalidInput on a network
    file system, CorruptData for a newer format, OSError when the folder cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        slot: int,
        clock: Clock,
        *,
        retain_bytes: int = 1024 * MIB,
        retain_days: float = 30.0,
        sealer: Sealer | None = None,
    ) -> None:
        """`sealer` encrypts the blocks; None: they lie as they are."""
        self.slot = slot
        self._sealer = sealer
        self._clock = clock
        self._retain_bytes = retain_bytes
        self._retain_us = int(retain_days * DAY_US)
        # Freed pages come back one transaction late and must lie side by side for a large block.
        self._map_limit = 2 * retain_bytes + 256 * MIB
        self._path = folder / str(slot)
        self._lock = SlotLock(self._path)
        try:
            require_local(self._path)
            self._env: Environment = opened(self._path, layout.FORMAT)
        except BaseException:
            self._lock.release()
            raise
        self._partitions: dict[tuple[str, str], _Partition] = {}
        self._staged: list[_Staged] = []
        self._trims: dict[str, tuple[_Partition, int]] = {}
        self._kept_bytes = 0
        self._sequence = 0
        self._oldest_us: int | None = None
        self._partition_count = 0
        self._load()

    def _load(self) -> None:
        self._env.clear_dead_readers()
        with self._env.reading() as txn:
            state = txn.get(layout.STATE_KEY)
            self._kept_bytes, self._sequence = layout.state_of(state) if state else (0, 0)
            self._oldest_us = _oldest(txn)
            cursor = txn.cursor()
            if cursor.set_range(layout.PARTITION):
                for key, raw in cursor:
                    if key[:1] != layout.PARTITION:
                        break
                    topic, shard = key[1:].decode().split("\0")
                    partition = self._partitions[topic, shard] = _Partition(key, *layout.partition_of(raw))
                    # Numbers may have gaps: one given to a partition that was never written is gone with its process.
                    self._partition_count = max(self._partition_count, partition.number + 1)

    def append(self, topic: str, shard: str, events: Sequence[tuple[int, bytes]]) -> int:
        """Stage events (time_us, value) as one block; returns the first offset."""
        if not events:
            return self._partition(topic, shard).next_offset
        times = [time_us for time_us, _ in events]
        return self._stage(topic, shard, layout.EVENTS, len(events), min(times), max(times), _pack(events))

    def append_block(self, topic: str, shard: str, count: int, first_us: int, last_us: int, value: bytes) -> int:
        """Stage a block that the caller encoded; returns the first offset."""
        return self._stage(topic, shard, layout.OPAQUE, count, first_us, last_us, value)

    def _stage(
        self, topic: str, shard: str, encoding: int, count: int, first_us: int, last_us: int, value: bytes
    ) -> int:
        partition = self._partition(topic, shard)
        offset = partition.next_offset
        sealed = self._sealed(topic, shard, value)
        self._staged.append(_Staged(partition, offset, encoding, count, first_us, last_us, sealed))
        partition.next_offset = offset + count
        return offset

    def _sealed(self, topic: str, shard: str, value: bytes) -> bytes:
        if self._sealer is None:
            return value
        return self._sealer.seal(place_of(topic, partition_name(shard, self.slot)), value)

    def _partition(self, topic: str, shard: str) -> _Partition:
        found = self._partitions.get((topic, shard))
        if found is None:
            found = _Partition(layout.partition_key(topic, shard), self._partition_count, 0)
            self._partitions[topic, shard] = found
            self._partition_count += 1
        return found

    def trim(self, topic: str, shard: str, before: int) -> None:
        """Let the next commit delete the blocks that end before the offset `before`."""
        self._trims[f"{topic}/{shard}"] = self._partition(topic, shard), before

    @property
    def kept_bytes(self) -> int:
        """Bytes of the blocks on disk, as retention counts them."""
        return self._kept_bytes

    def commit(self) -> None:
        """Make everything staged durable and delete what retention no longer keeps.

        Raises OSError (ENOSPC: no room, EIO: anything else) and keeps what was staged; call it again later.
        """
        oldest_kept_us = self._clock.time_ns() // 1000 - self._retain_us
        if not self._staged and not self._trims and (self._oldest_us is None or self._oldest_us >= oldest_kept_us):
            return
        self._durably(lambda txn: self._write(txn, oldest_kept_us))
        self._staged = []
        self._trims = {}

    def _write(self, txn: Transaction, oldest_kept_us: int) -> tuple[int, int]:
        kept, sequence = self._kept_bytes, self._sequence
        layout.FORMAT.stamp(txn)
        touched: dict[bytes, _Partition] = {}
        for block in self._staged:
            number = block.partition.number
            header = layout.pack_header(block.encoding, block.count, block.first_us, block.last_us, sequence)
            size = layout.footprint(len(block.value))
            txn.put(layout.block_key(number, block.offset), header + block.value)
            txn.put(layout.order_key(sequence), layout.pack_order(number, block.offset, size, block.last_us))
            touched[block.partition.key] = block.partition
            sequence += 1
            kept += size
        for key, partition in touched.items():
            txn.put(key, layout.pack_partition(partition.number, partition.next_offset))
        kept -= sum(_trim(txn, partition.number, before) for partition, before in self._trims.values())
        kept -= self._expire(txn, kept, oldest_kept_us)
        txn.put(layout.STATE_KEY, layout.pack_state(kept, sequence))
        return kept, sequence

    def _expire(self, txn: Transaction, kept: int, oldest_kept_us: int) -> int:
        """Delete the oldest blocks beyond the limits; returns the bytes that they held."""
        freed = 0
        aged = 0
        cursor = txn.cursor()
        found = cursor.set_range(layout.ORDER)
        while found and cursor.key()[:1] == layout.ORDER:
            number, offset, size, last_us = layout.order_of(cursor.value())
            if kept - freed <= self._retain_bytes:
                if last_us >= oldest_kept_us or aged == EXPIRE_AT_ONCE:
                    break
                aged += 1
            txn.delete(layout.block_key(number, offset))
            cursor.set_range(layout.ORDER)
            found = cursor.delete()
            freed += size
        return freed

    def rewrite(self, topic: str, shard: str, offset: int, value: bytes) -> bool:
        """Replace the value of the committed block that starts at `offset`; False when it is gone."""
        partition = self._partitions.get((topic, shard))
        if partition is None:
            return False
        key = layout.block_key(partition.number, offset)
        value = self._sealed(topic, shard, value)
        found = False

        def replace(txn: Transaction) -> tuple[int, int]:
            nonlocal found
            old = txn.get(key)
            found = old is not None
            if old is None:
                return self._kept_bytes, self._sequence
            *_, last_us, sequence = layout.header_of(old)
            size = layout.footprint(len(value))
            txn.put(key, old[: layout.HEADER_BYTES] + value)
            txn.put(layout.order_key(sequence), layout.pack_order(partition.number, offset, size, last_us))
            kept = self._kept_bytes + size - layout.footprint(len(old) - layout.HEADER_BYTES)
            txn.put(layout.STATE_KEY, layout.pack_state(kept, self._sequence))
            return kept, self._sequence

        self._durably(replace)
        return found

    def _durably(self, work: _Work) -> None:
        """Run `work` in one durable transaction, and take over what it returns."""
        if self._sealer is not None:
            self._sealer.settle()
        state, self._oldest_us = self._env.durably(lambda txn: (work(txn), _oldest(txn)), self._map_limit)
        self._kept_bytes, self._sequence = state

    def close(self) -> None:
        """Commit what is staged and release the slot, also when that commit fails (OSError)."""
        try:
            self.commit()
        finally:
            release(self._env)
            self._lock.release()


def _trim(txn: Transaction, number: int, before: int) -> int:
    """Delete up to `TRIM_AT_ONCE` blocks of a partition that end before an offset; returns the bytes they held."""
    freed = 0
    cursor = txn.cursor()
    found = cursor.set_range(layout.block_key(number, 0))
    for _ in range(TRIM_AT_ONCE):
        if not found or cursor.key() >= layout.block_key(number, before):
            break
        value = cursor.value()
        _, count, _, _, sequence = layout.header_of(value)
        offset = layout.offset_of(cursor.key())
        if offset + count > before:
            break
        freed += layout.footprint(len(value) - layout.HEADER_BYTES)
        txn.delete(layout.order_key(sequence))
        txn.delete(layout.block_key(number, offset))
        found = cursor.set_range(layout.block_key(number, 0))
    return freed


def _oldest(txn: Transaction) -> int | None:
    """Last event time of the oldest block, or None when there is none."""
    cursor = txn.cursor()
    if not cursor.set_range(layout.ORDER) or cursor.key()[:1] != layout.ORDER:
        return None
    last_us: int = layout.order_of(cursor.value())[3]
    return last_us
