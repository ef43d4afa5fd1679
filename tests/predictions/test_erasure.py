"""Orders to delete: what happens when owner, requester or order fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from kaname.clock import SystemClock
from kaname.errors import Conflict, Unavailable
from kaname.predictions.erasure import OrderedErasures, erase_everywhere
from kaname.predictions.types import Subject
from kaname.settings import Recording
from kaname.storage.events.lmdb.reader import LmdbReader
from kaname.storage.events.lmdb.writer import LmdbWriter
from kaname.storage.events.types import EventWriter
from tests.predictions.traffic import answer, open_reader, record, table_call


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A record of 20 requests in four commits, so that there are several blocks."""
    for part in range(4):
        calls = [(table_call(f"r{part}{i}", [[float(i), 2.0, "red"]]), answer()) for i in range(5)]
        record(tmp_path, list(calls), Recording())
    return tmp_path


def refused(slot: int) -> EventWriter:
    """Every slot has a live owner."""
    raise Conflict("owned", where=str(slot))


def orders(folder: Path) -> list[str]:
    return sorted(path.suffix for path in (folder / "0" / "erase").iterdir())


def carry_out(folder: Path) -> None:
    """Be the owner until there is nothing more to do."""
    log = LmdbReader(folder)
    writer = LmdbWriter(folder, 0, SystemClock())
    work = OrderedErasures(folder, 0, log, SystemClock())
    drain(work, writer)
    writer.close()
    log.close()


def drain(work: OrderedErasures, writer: EventWriter) -> None:
    """Carry out orders until there are none."""
    while work(writer):
        pass


def test_an_order_outlives_its_requester_and_is_carried_out_by_the_next_owner(folder: Path) -> None:
    """The requester gives up on an owner that does not react; the slot's next owner deletes all the same."""
    with pytest.raises(Unavailable, match="the order stands"):
        erase_everywhere(Subject(request_ids=("r03", "r31")), folder, LmdbReader(folder), refused, timeout_s=0.05)
    assert orders(folder) == [".json"]
    carry_out(folder)
    assert orders(folder) == [".done"]
    assert {event.request_id for event in open_reader(folder).scan()} == {
        f"r{part}{i}" for part in range(4) for i in range(5)
    } - {"r03", "r31"}


def test_an_unreadable_order_is_put_aside_and_the_next_one_carried_out(folder: Path) -> None:
    """Garbage among the orders is said, kept for people to look at, and stops nothing."""
    with pytest.raises(Unavailable):
        erase_everywhere(Subject(key_id="key-9"), folder, LmdbReader(folder), refused, timeout_s=0.0)
    (folder / "0" / "erase" / "0.json").write_text('{"unknown": 1}')
    with capture_logs() as lines:
        carry_out(folder)
    assert ["cannot be read" in line["event"] for line in lines] == [True]
    assert orders(folder) == [".bad", ".done"]
    assert list(open_reader(folder).scan()) == []


def test_a_disk_that_refuses_makes_the_order_start_again(folder: Path) -> None:
    """An OSError in the middle leaves the order; the next attempt does the rest and counts the whole."""

    class Refusing(LmdbWriter):
        """Refuses its second rewrite."""

        rewrites = 0

        def rewrite(self, topic: str, shard: str, offset: int, value: bytes) -> bool:
            self.rewrites += 1
            if self.rewrites == 2:
                raise OSError(28, "No space left on device")
            return super().rewrite(topic, shard, offset, value)

    with pytest.raises(Unavailable):
        erase_everywhere(Subject(inputs={"length": 1.0}), folder, LmdbReader(folder), refused, timeout_s=0.0)
    writer = Refusing(folder, 0, SystemClock())
    work = OrderedErasures(folder, 0, LmdbReader(folder), SystemClock())
    with pytest.raises(OSError, match="No space"):
        drain(work, writer)
    assert orders(folder) == [".json"]
    drain(work, writer)
    writer.close()
    assert orders(folder) == [".done"]
    assert len(list(open_reader(folder).scan())) == 16


def test_deletion_covers_every_slot_and_survives_a_restart(folder: Path) -> None:
    """A second slot's record is searched too, deleted events stay deleted, and new ones get new offsets."""
    other = LmdbWriter(folder, 1, SystemClock())
    other.close()
    reader = open_reader(folder)
    ends = reader.marks()
    assert reader.delete(Subject(key_id="key-9")) == 20
    assert reader.marks() == ends
    record(folder, [(table_call("new", [[1.0, 2.0, "red"]]), answer())], Recording())
    (event,) = open_reader(folder).scan()
    assert event.request_id == "new"
    assert event.offset == 20
    assert reader.delete(Subject(key_id="none")) == 0


def test_a_subject_s_conditions_must_all_hold(folder: Path) -> None:
    """Request id and value together delete only the request that has both; text matches text."""
    reader = open_reader(folder)
    assert reader.delete(Subject(request_ids=("r01", "r02"), inputs={"length": 2.0})) == 1
    assert reader.delete(Subject(inputs={"colour": "blue"})) == 0
    assert reader.delete(Subject(inputs={"colour": "red", "length": 4.0})) == 4
    assert reader.delete(Subject(inputs={"no such input": 1})) == 0
    assert len(list(reader.scan())) == 15
