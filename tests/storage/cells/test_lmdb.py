"""What the embedded store does beside what all stores do: space, formats, groups of writes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest

from kaname.clock import ManualClock
from kaname.errors import CorruptData, Unavailable
from kaname.storage.cells.lmdb import layout
from kaname.storage.cells.lmdb.catalog import Catalog
from kaname.storage.cells.lmdb.store import LmdbCells
from kaname.storage.cells.lmdb.sweep import KEYS_AT_ONCE, Sweep
from kaname.storage.cells.types import Cell, Family, Put, Table
from kaname.storage.mapped.environment import opened, release

MIB = 1024**2
BRIEF = Table("brief", {"f": Family(ttl_s=10.0), "kept": Family()})


@pytest.fixture
def clock() -> ManualClock:
    """Stands still."""
    return ManualClock()


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock) -> Iterator[LmdbCells]:
    """A store with a table whose cells live for ten seconds."""
    made = LmdbCells(tmp_path, clock, max_bytes=32 * MIB)
    made.define(BRIEF)
    yield made
    made.close()


def held(folder: Path) -> list[list[Cell]]:
    """The cells that the database holds, seen or not, by row."""
    env = opened(folder, layout.FORMAT)
    with env.reading() as txn:
        found = [layout.unpack(value) for key, value in txn.cursor() if key[:1] == layout.CELLS]
    release(env)
    return found


def sweep(folder: Path, clock: ManualClock) -> int:
    """One round of clearing; returns its steps."""
    env = opened(folder, layout.FORMAT)
    round_ = Sweep(env, Catalog(), 32 * MIB)
    steps = 1
    while round_.step(clock.time_ns() // 1000):
        steps += 1
    release(env)
    return steps


def test_a_cell_is_seen_until_its_time_is_over(store: LmdbCells, clock: ManualClock) -> None:
    """To the microsecond, each cell by its own timestamp."""
    now_us = clock.time_ns() // 1000
    store.write([Put("brief", b"r", "f", {b"old": b"1"}, now_us - 1000), Put("brief", b"r", "f", {b"new": b"2"})])
    clock.advance(ms=9_998.999)
    assert [cell.qualifier for cell in store.get("brief", b"r")["f"]] == [b"new", b"old"]
    clock.advance(ms=0.001)
    assert [cell.qualifier for cell in store.get("brief", b"r")["f"]] == [b"new"]
    clock.advance(ms=1)
    assert store.get("brief", b"r") == {}
    assert list(store.scan("brief")) == []


def test_what_is_over_gives_its_space_back(store: LmdbCells, clock: ManualClock, tmp_path: Path) -> None:
    """Expired cells go, with their rows when nothing else is in them, and all of a dropped table; the rest stays."""
    store.define(Table("dropped", {"f": Family()}))
    store.write([Put("brief", b"%d" % i, "f", {b"q": b"v"}) for i in range(KEYS_AT_ONCE)])
    store.write([Put("brief", b"%d" % i, "kept", {b"q": b"v"}) for i in range(10)])
    store.write([Put("dropped", b"%d" % i, "f", {b"q": b"v"}) for i in range(10)])
    clock.advance(ms=5_000)
    store.write([Put("brief", b"1", "f", {b"new": b"v"})])
    store.drop("dropped")
    assert sweep(tmp_path, clock) == 2, "a step looks at so many keys and no more"
    assert len(held(tmp_path)) == KEYS_AT_ONCE + 10
    clock.advance(ms=5_000)
    sweep(tmp_path, clock)
    assert len(held(tmp_path)) == 1 + 10
    assert store.get("brief", b"1") == {
        "f": [Cell(b"new", clock.time_ns() // 1000 - 5_000_000, b"v")],
        "kept": [Cell(b"q", clock.time_ns() // 1000 - 10_000_000, b"v")],
    }


def test_a_row_that_is_written_sheds_what_nobody_sees_any_more(
    store: LmdbCells, clock: ManualClock, tmp_path: Path
) -> None:
    """Versions beyond those that are kept, and cells whose time is over, go when their row is written."""
    store.define(Table("brief", {"f": Family(ttl_s=10.0, versions=2)}))
    for value in (b"1", b"2", b"3"):
        clock.advance(ms=1)
        store.write([Put("brief", b"r", "f", {b"q": value})])
    assert [[cell.value for cell in cells] for cells in held(tmp_path)] == [[b"3", b"2"]]
    clock.advance(ms=20_000)
    store.write([Put("brief", b"r", "f", {b"p": b"4"})])
    assert [[cell.value for cell in cells] for cells in held(tmp_path)] == [[b"4"]]


def test_the_owner_clears_by_itself(store: LmdbCells, clock: ManualClock, tmp_path: Path) -> None:
    """Once a second, after it has written something."""
    store.write([Put("brief", b"r", "f", {b"q": b"v"})])
    clock.advance(ms=11_000)
    store.write([Put("brief", b"s", "kept", {b"q": b"v"})])
    store.write([Put("brief", b"s", "kept", {b"q": b"v"})])
    assert len(held(tmp_path)) == 1


def test_a_full_store_says_so_and_can_be_read(store: LmdbCells) -> None:
    """A write beyond `max_bytes` is refused whole, with the limit; small ones still fit."""
    store.write([Put("brief", b"first", "kept", {b"q": bytes(7 * MIB)})])
    with pytest.raises(Unavailable, match=f"{32 * MIB} bytes"):
        store.write([Put("brief", b"%d" % i, "kept", {b"q": bytes(7 * MIB)}) for i in range(4)])
    assert [row.key for row in store.scan("brief")] == [b"first"]
    store.write([Put("brief", b"small", "kept", {b"q": b"v"})])
    assert store.get("brief", b"small")


def test_writes_of_many_threads_share_their_commits(store: LmdbCells, tmp_path: Path) -> None:
    """Forty writes at once take fewer transactions than forty."""
    env = opened(tmp_path, layout.FORMAT)
    with env.reading() as txn:
        before = txn.id()
    threads = [
        threading.Thread(target=store.write, args=([Put("brief", b"%d" % i, "kept", {b"q": b"v"})],)) for i in range(40)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with env.reading() as txn:
        assert txn.id() - before < 40
    release(env)
    assert len(list(store.scan("brief"))) == 40


def test_a_newer_format_is_refused(tmp_path: Path, clock: ManualClock) -> None:
    """A database of a later format is neither read nor written."""
    with lmdb.open(str(tmp_path)) as env, env.begin(write=True) as txn:
        layout.FORMAT._replace(number=layout.FORMAT.number + 1).stamp(txn)
    with pytest.raises(CorruptData, match="cell store was written by a newer version"):
        LmdbCells(tmp_path, clock)


def test_a_row_that_cannot_be_read_fails_its_readers_and_writers_alone(store: LmdbCells, tmp_path: Path) -> None:
    """Damaged bytes are CorruptData to whoever touches that row, its batch is refused whole, and all others go on."""
    store.write([Put("brief", b"bad", "kept", {b"q": b"v"}), Put("brief", b"good", "kept", {b"q": b"v"})])
    env = opened(tmp_path, layout.FORMAT)
    with env.reading() as txn:
        (damaged,) = [key for key, _ in txn.cursor() if key.endswith(b"bad")]
    env.durably(lambda txn: txn.put(damaged, b"\xff" * 40), 32 * MIB)
    release(env)
    with pytest.raises(CorruptData):
        store.get("brief", b"bad")
    with pytest.raises(CorruptData):
        store.write([Put("brief", b"good", "kept", {b"q": b"new"}), Put("brief", b"bad", "kept", {b"q": b"new"})])
    assert store.get("brief", b"good")["kept"][0].value == b"v"
    store.write([Put("brief", b"good", "kept", {b"q": b"newer"})])
    assert store.get("brief", b"good")["kept"][0].value == b"newer"
