"""The event log against an in-memory model, and its promises one by one."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import lmdb
import msgspec
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kaname.clock import ManualClock
from kaname.errors import Conflict, CorruptData, InvalidInput
from kaname.storage.events.lmdb import layout
from kaname.storage.events.lmdb.reader import LmdbReader
from kaname.storage.events.lmdb.writer import LmdbWriter
from kaname.storage.events.types import Event, Position, partition_name, split_partition

TOPIC = "t"
DAY_MS = 86_400_000.0


def now_us(clock: ManualClock) -> int:
    return clock.time_ns() // 1000


class Log(RuleBasedStateMachine):
    """Appends, commits, restarts, rewrites and ageing at random; what is read is what a list would hold."""

    @initialize()
    def open(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.clock = ManualClock()
        self.writer = LmdbWriter(self.folder, 0, self.clock, retain_days=1.0)
        self.reader = LmdbReader(self.folder)
        self.blocks: list[tuple[str, int, list[tuple[int, bytes]]]] = []  # as committed, in order
        self.staged: list[tuple[str, int, list[tuple[int, bytes]]]] = []
        self.ends: dict[str, int] = {}
        self.committed_ends: dict[str, int] = {}

    @rule(shard=st.sampled_from(["a", "b", "a/b"]), values=st.lists(st.binary(max_size=5000), max_size=4))
    def append(self, shard: str, values: list[bytes]) -> None:
        events = [(now_us(self.clock) + i, value) for i, value in enumerate(values)]
        assert self.writer.append(TOPIC, shard, events) == self.ends.get(shard, 0)
        if events:
            self.staged.append((shard, self.ends.get(shard, 0), events))
            self.ends[shard] = self.ends.get(shard, 0) + len(events)

    @rule()
    def commit(self) -> None:
        self.writer.commit()
        self.blocks += self.staged
        self.staged = []
        self.committed_ends = dict(self.ends)
        self._age()

    def _age(self) -> None:
        limit = now_us(self.clock) - 86_400_000_000
        while self.blocks and self.blocks[0][2][-1][0] < limit:
            self.blocks.pop(0)

    @rule(days=st.sampled_from([0.3, 0.6, 1.1]))
    def wait(self, days: float) -> None:
        self.clock.advance(ms=days * DAY_MS)

    @rule()
    def restart(self) -> None:
        self.writer.close()
        self.blocks += self.staged
        self.staged = []
        self.committed_ends = dict(self.ends)
        self._age()
        self.writer = LmdbWriter(self.folder, 0, self.clock, retain_days=1.0)

    @rule(data=st.data(), value=st.binary(max_size=9000))
    def rewrite(self, data: st.DataObject, value: bytes) -> None:
        if not self.blocks:
            return
        shard, offset, events = data.draw(st.sampled_from(self.blocks))
        changed = [(time_us, value) for time_us, _ in events]
        assert self.writer.rewrite(TOPIC, shard, offset, msgspec.msgpack.encode(changed))
        self.blocks = [(s, o, changed if (s, o) == (shard, offset) else e) for s, o, e in self.blocks]

    @rule(start=st.integers(0, 20), limit=st.integers(0, 9))
    def read_from(self, start: int, limit: int) -> None:
        for shard in self.committed_ends:
            found = self.reader.read(TOPIC, Position(partition_name(shard, 0), start), limit)
            assert found == [event for event in self._events(shard) if event.offset >= start][:limit]

    def _events(self, shard: str) -> list[Event]:
        return [
            Event(partition_name(shard, 0), offset + i, time_us, value)
            for name, offset, events in self.blocks
            if name == shard
            for i, (time_us, value) in enumerate(events)
        ]

    @invariant()
    def reads_what_is_committed(self) -> None:
        assert self.reader.partitions(TOPIC) == sorted(partition_name(shard, 0) for shard in self.committed_ends)
        for shard, end in self.committed_ends.items():
            name = partition_name(shard, 0)
            assert self.reader.end(TOPIC, name) == end
            assert self.reader.read(TOPIC, Position(name, 0), 10_000) == self._events(shard)
            backwards = self.reader.blocks_before(TOPIC, Position(name, end), 10_000)
            kept = [offset for s, offset, _ in self.blocks if s == shard]
            assert [block.offset for block in backwards] == kept[::-1]

    def teardown(self) -> None:
        if hasattr(self, "writer"):
            self.reader.close()
            self.writer.close()
            shutil.rmtree(self.folder)


TestLog = Log.TestCase
TestLog.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)


def test_retention_by_size_deletes_oldest_blocks_and_uses_their_space_again(tmp_path: Path) -> None:
    """Twenty times the limit goes through a log whose file stays near the limit; the newest blocks are kept."""
    clock = ManualClock()
    limit = 4 * 1024 * 1024
    writer = LmdbWriter(tmp_path, 0, clock, retain_bytes=limit)
    for i in range(800):
        writer.append_block(TOPIC, "m", 10, now_us(clock), now_us(clock), bytes(90_000 + i * 37 % 20_000))
        writer.commit()
        clock.advance(ms=1)
    reader = LmdbReader(tmp_path)
    blocks = reader.blocks(TOPIC, Position("m/0", 0), 10_000)
    assert writer.kept_bytes <= limit
    assert sum(len(block.value) for block in blocks) > limit * 0.8
    assert blocks[-1].offset == 7990
    assert [block.offset for block in blocks] == list(range(blocks[0].offset, 8000, 10))
    assert (tmp_path / "0" / "data.mdb").stat().st_size < 2 * limit
    reader.close()
    writer.close()


def test_trimming_deletes_whole_blocks_of_one_partition_and_keeps_its_end(tmp_path: Path) -> None:
    """What ends before the offset goes with the next commit, what straddles it stays, and no offset is given twice."""
    clock = ManualClock()
    writer, reader = LmdbWriter(tmp_path, 0, clock), LmdbReader(tmp_path)
    for shard in ("a", "b"):
        for start in range(0, 30, 3):
            events = [(now_us(clock), b"%d" % (start + i)) for i in range(3)]
            assert writer.append(TOPIC, shard, events) == start
    writer.commit()
    full = writer.kept_bytes
    writer.trim(TOPIC, "a", 13)
    writer.commit()
    assert [event.offset for event in reader.read(TOPIC, Position("a/0", 0), 100)] == list(range(12, 30))
    assert len(reader.read(TOPIC, Position("b/0", 0), 100)) == 30
    assert writer.kept_bytes < full
    writer.trim(TOPIC, "a", 30)
    writer.commit()
    assert reader.read(TOPIC, Position("a/0", 0), 100) == []
    assert reader.end(TOPIC, "a/0") == 30
    writer.close()
    again = LmdbWriter(tmp_path, 0, clock)
    assert again.kept_bytes == writer.kept_bytes
    assert again.append(TOPIC, "a", [(now_us(clock), b"x")]) == 30
    again.close()
    reader.close()


def test_a_batch_larger_than_the_map_makes_it_grow(tmp_path: Path) -> None:
    """One transaction of 40 MB enters a log whose map begins smaller."""
    clock = ManualClock()
    writer = LmdbWriter(tmp_path, 0, clock)
    for _ in range(40):
        writer.append_block(TOPIC, "m", 1, now_us(clock), now_us(clock), bytes(1_000_000))
    writer.commit()
    reader = LmdbReader(tmp_path)
    assert len(reader.blocks(TOPIC, Position("m/0", 0), 100)) < 40  # a bounded copy
    assert len(list(_all_blocks(reader, "m/0"))) == 40
    reader.close()
    writer.close()


def _all_blocks(reader: LmdbReader, partition: str) -> list[int]:
    offsets: list[int] = []
    position = Position(partition, 0)
    while blocks := reader.blocks(TOPIC, position, 100):
        offsets += [block.offset for block in blocks]
        position = Position(partition, blocks[-1].offset + blocks[-1].count)
    return offsets


def test_two_writers_on_one_slot_are_refused_and_the_lock_ends_with_its_owner(tmp_path: Path) -> None:
    """The second writer gets a Conflict that names the first; after `close` the slot is free and goes on."""
    clock = ManualClock()
    first = LmdbWriter(tmp_path, 3, clock)
    first.append(TOPIC, "m", [(now_us(clock), b"x")])
    with pytest.raises(Conflict, match="process"):
        LmdbWriter(tmp_path, 3, clock)
    other = LmdbWriter(tmp_path, 4, clock)
    other.close()
    first.close()
    second = LmdbWriter(tmp_path, 3, clock)
    assert second.append(TOPIC, "m", [(now_us(clock), b"y")]) == 1
    second.close()


def test_a_newer_format_is_refused_by_writer_and_reader(tmp_path: Path) -> None:
    """A database of format 2 is neither written nor read by software that knows format 1."""
    clock = ManualClock()
    LmdbWriter(tmp_path, 0, clock).close()
    with lmdb.open(str(tmp_path / "0")) as env, env.begin(write=True) as txn:
        layout.FORMAT._replace(number=layout.FORMAT.number + 1).stamp(txn)
    with pytest.raises(CorruptData, match="newer version"):
        LmdbWriter(tmp_path, 0, clock)
    reader = LmdbReader(tmp_path)
    with pytest.raises(CorruptData, match="newer version"):
        reader.partitions(TOPIC)
    (tmp_path / "0" / "slot.lock").open().close()
    with pytest.raises(CorruptData):
        LmdbWriter(tmp_path, 0, clock)  # not a Conflict: the failed attempt gave the lock back


def test_tail_merges_partitions_by_time(tmp_path: Path) -> None:
    """The last events of three partitions in two slots come back in the order of their times."""
    clock = ManualClock()
    writers = [LmdbWriter(tmp_path, slot, clock) for slot in (0, 1)]
    base = now_us(clock)
    for i in range(12):
        writers[i % 2].append(TOPIC, "ab"[i % 3 == 0], [(base + i, str(i).encode())])
        writers[i % 2].commit()
    reader = LmdbReader(tmp_path)
    assert [event.value for event in reader.tail(TOPIC, last=5)] == [b"7", b"8", b"9", b"10", b"11"]
    assert [event.value for event in reader.tail(TOPIC, shard="b", last=2)] == [b"6", b"9"]
    assert list(reader.tail(TOPIC, shard="none")) == []
    reader.close()
    for writer in writers:
        writer.close()


def test_what_cannot_be_is_refused_with_its_reason(tmp_path: Path) -> None:
    """Impossible names, opaque blocks read as events, and places that hold nothing."""
    clock = ManualClock()
    writer = LmdbWriter(tmp_path, 0, clock)
    with pytest.raises(InvalidInput, match="no such partition"):
        writer.append(TOPIC, "x" * 600, [(1, b"")])
    with pytest.raises(InvalidInput):
        writer.append(TOPIC, "a\0b", [(1, b"")])
    for value in (b"\xc1", b"\x91\xa2\xff\xfe", b""):
        writer.append_block(TOPIC, "m", 2, now_us(clock), now_us(clock), value)
    writer.commit()
    reader = LmdbReader(tmp_path)
    for offset in (0, 2, 4):
        with pytest.raises(CorruptData, match="single events"):
            reader.read(TOPIC, Position("m/0", offset), 1)
    assert reader.blocks(TOPIC, Position("m/7", 0), 5) == []
    assert reader.blocks(TOPIC, Position("other/0", 0), 5) == []
    assert reader.end(TOPIC, "m/7") == 0
    assert not writer.rewrite(TOPIC, "m", 99, b"")
    assert not writer.rewrite(TOPIC, "other", 0, b"")
    assert LmdbReader(tmp_path / "nowhere").partitions(TOPIC) == []
    reader.close()
    writer.close()


def test_the_block_that_holds_a_position_is_found() -> None:
    """Names of partitions split where the slot begins, whatever the shard is called."""
    assert split_partition(partition_name("team/model", 12)) == ("team/model", 12)


def test_a_partition_that_was_never_written_leaves_no_number_to_give_twice(tmp_path: Path) -> None:
    """Two partitions never share their blocks, also when one was only asked for before a restart."""
    clock = ManualClock()
    writer = LmdbWriter(tmp_path, 0, clock)
    writer.append(TOPIC, "b", [])
    writer.append(TOPIC, "a", [(now_us(clock), b"first")])
    writer.close()
    writer = LmdbWriter(tmp_path, 0, clock)
    writer.append(TOPIC, "b", [(now_us(clock), b"second"), (now_us(clock), b"third")])
    writer.close()
    reader = LmdbReader(tmp_path)
    assert [e.value for e in reader.read(TOPIC, Position("a/0", 0), 10)] == [b"first"]
    assert [e.value for e in reader.read(TOPIC, Position("b/0", 0), 10)] == [b"second", b"third"]
    reader.close()
