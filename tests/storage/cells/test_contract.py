"""What every cell store promises, asked of each kind with its real server."""

from __future__ import annotations

import threading
from uuid import uuid4

import pytest

from kaname.clock import SystemClock
from kaname.errors import InvalidInput, KanameError, NotFound, TooLarge
from kaname.storage.cells.types import (
    MAX_ROW_BYTES,
    MAX_VALUE_BYTES,
    Cell,
    CellStore,
    Delete,
    Family,
    Mutation,
    Put,
    Table,
)

TABLE = Table("contract", {"f": Family(), "g": Family(versions=2)})


@pytest.fixture(scope="module", autouse=True)
def table(store: CellStore) -> None:
    """The table of this module."""
    store.define(TABLE)


@pytest.fixture
def own() -> bytes:
    """The beginning of this test's rows."""
    return uuid4().bytes


def put(row: bytes, value: bytes = b"v", stamp: int | None = 1, family: str = "f", name: str = TABLE.name) -> Put:
    """One cell."""
    return Put(name, row, family, {b"q": value}, stamp)


def test_what_is_written_is_read_row_by_row_and_in_order(store: CellStore, own: bytes) -> None:
    """Cells come by family and in the order of their qualifiers, those that were not asked for do not."""
    store.write([Put("contract", own, "f", {b"b": b"2", b"": b"0", b"a": b""}, 7), put(own, b"g", 8, "g")])
    assert store.get("contract", own) == {
        "f": [Cell(b"", 7, b"0"), Cell(b"a", 7, b""), Cell(b"b", 7, b"2")],
        "g": [Cell(b"q", 8, b"g")],
    }
    assert store.get("contract", own, {"f": [b"b", b"x"]}) == {"f": [Cell(b"b", 7, b"2")]}
    assert store.get_many("contract", [b"none", own], {"g": None}) == [{}, {"g": [Cell(b"q", 8, b"g")]}]
    assert store.get("contract", own, {}) == {}


def test_a_batch_applies_in_its_order(store: CellStore, own: bytes) -> None:
    """The value that was put last under one timestamp stays; a put behind a delete is seen, one before it is not."""
    store.write([put(own, b"first"), put(own, b"last")])
    assert store.get("contract", own) == {"f": [Cell(b"q", 1, b"last")]}
    store.write([put(own, b"before", 5), Delete("contract", own, until_us=6), put(own, b"after", 7)])
    assert store.get("contract", own) == {"f": [Cell(b"q", 7, b"after")]}


def test_a_timestamp_that_is_not_given_is_now(store: CellStore, own: bytes) -> None:
    """It lies between the moments before and after the write; a delete without one takes all of that."""
    before_us = SystemClock().time_ns() // 1000
    store.write([put(own, stamp=None)])
    ((cell,),) = store.get("contract", own).values()
    assert before_us <= cell.timestamp_us <= SystemClock().time_ns() // 1000
    store.write([Delete("contract", own)])
    assert store.get("contract", own) == {}


def test_versions_beyond_those_kept_are_gone_whatever_the_order_of_writing(store: CellStore, own: bytes) -> None:
    """Of three versions two are kept, the newest; one is read unless more are asked for."""
    for stamp in (2, 3, 1):
        store.write([put(own, b"%d" % stamp, stamp, "g")])
    assert store.get("contract", own) == {"g": [Cell(b"q", 3, b"3")]}
    assert store.get("contract", own, versions=9) == {"g": [Cell(b"q", 3, b"3"), Cell(b"q", 2, b"2")]}


def test_a_long_scan_misses_no_row_in_either_direction(store: CellStore, own: bytes) -> None:
    """A thousand rows, some of them without what is asked for: all others, once each, in order, up to the limit."""
    keys = [own + i.to_bytes(2, "big") for i in range(1000)]
    store.write([put(key, key[-2:], family="g" if i % 3 else "f") for i, key in enumerate(keys)])
    wanted, stop = keys[::3], own + b"\xff\xff"
    assert [row.key for row in store.scan("contract", own, stop, columns={"f": None})] == wanted
    backwards = store.scan("contract", own, stop, columns={"f": None}, reverse=True, limit=300)
    assert [row.key for row in backwards] == wanted[::-1][:300]
    assert [row.key for row in store.scan("contract", keys[10], keys[20])] == keys[10:20]
    assert [row.key for row in store.scan("contract", keys[10], keys[20], reverse=True, limit=2)] == keys[18:20][::-1]
    assert next(store.scan("contract", keys[999])).cells == {"f": [Cell(b"q", 1, keys[999][-2:])]}


def test_the_first_rows_of_many_ranges_are_one_question(store: CellStore, own: bytes) -> None:
    """Two hundred ranges of up to three rows each: the first one with what is asked for, or the last; none where there
    is none, and none of the next range."""
    keys = [own + bytes([i, j]) for i in range(200) for j in range(i % 4)]
    store.write([put(key, key, family="g" if key[-1] == 2 else "f") for key in keys])
    ranges = [(own + bytes([i]), own + bytes([i + 1])) for i in range(200)]
    first, last, some = (
        [None if row is None else row.key for row in store.get_first("contract", ranges, columns, reverse=reverse)]
        for columns, reverse in ((None, False), (None, True), ({"f": [b"q"]}, True))
    )
    assert first == [own + bytes([i, 0]) if i % 4 else None for i in range(200)]
    assert last == [own + bytes([i, i % 4 - 1]) if i % 4 else None for i in range(200)]
    assert some == [own + bytes([i, min(i % 4, 2) - 1]) if i % 4 else None for i in range(200)]
    [row] = store.get_first("contract", ranges[1:2])
    assert row is not None
    assert row.cells == {"f": [Cell(b"q", 1, row.key)]}
    assert store.get_first("contract", []) == store.get_first("contract", [], {}) == []
    assert store.get_first("contract", ranges[:2], {}) == [None, None]


def test_large_values_and_the_longest_keys_come_back_whole(store: CellStore, own: bytes) -> None:
    """A megabyte under a row of `MAX_ROW_BYTES` bytes; a row that is longer is not there."""
    row, value = own.ljust(MAX_ROW_BYTES, b"\xff"), bytes(range(256)) * 4096
    store.write([put(row, value)])
    assert store.get("contract", row) == {"f": [Cell(b"q", 1, value)]}
    assert store.get("contract", row + b"\xff") == store.get("contract", b"") == {}
    assert [found.key for found in store.scan("contract", row[:-1], row + b"\xff\xff")] == [row]
    assert list(store.scan("contract", row + b"\xff", row + b"\xff\xff")) == []


def test_writers_at_the_same_time_lose_nothing(store: CellStore, own: bytes) -> None:
    """Four threads write cells of the same rows: every cell is there."""

    def fill(mark: bytes) -> None:
        for i in range(20):
            store.write([Put("contract", own + b"%d" % i, "f", {mark: b"%d" % i}, 1)])

    threads = [threading.Thread(target=fill, args=(mark,)) for mark in (b"a", b"b", b"c", b"d")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(20):
        cells = store.get("contract", own + b"%d" % i)["f"]
        assert cells == [Cell(mark, 1, b"%d" % i) for mark in (b"a", b"b", b"c", b"d")]


def test_a_table_grows_by_families_and_goes_with_its_rows(store: CellStore) -> None:
    """Definitions add up and change what is kept; a dropped table is not found, and is empty when it is made again."""
    name = f"t{uuid4().hex}"
    store.define(Table(name, {"a": Family()}))
    store.define(Table(name, {"a": Family(versions=3)}))
    store.define(Table(name, {"b": Family(ttl_s=60.0)}))
    assert Table(name, {"a": Family(versions=3), "b": Family(ttl_s=60.0)}) in store.tables()
    store.write([put(b"r", stamp=stamp, family="a", name=name) for stamp in (1, 2)])
    store.write([put(b"r", stamp=1, family="b", name=name)])
    assert store.get(name, b"r", versions=3) == {"a": [Cell(b"q", 2, b"v"), Cell(b"q", 1, b"v")]}
    store.define(Table(name, {"a": Family()}))
    assert store.get(name, b"r", versions=3) == {"a": [Cell(b"q", 2, b"v")]}
    store.drop(name)
    store.drop(name)
    with pytest.raises(NotFound, match=name):
        store.get(name, b"r")
    store.define(Table(name, {"a": Family()}))
    assert list(store.scan(name)) == []
    store.drop(name)


ROW, CELLS = b"r", {b"q": b"v"}
REFUSED: list[tuple[type[KanameError], Mutation]] = [
    (NotFound, Put("missing", ROW, "f", CELLS)),
    (NotFound, Put("contract", ROW, "missing", CELLS)),
    (NotFound, Delete("missing", ROW)),
    (NotFound, Delete("contract", ROW, "missing")),
    (InvalidInput, Put("contract", b"", "f", CELLS)),
    (InvalidInput, Put("contract", b"r" * (MAX_ROW_BYTES + 1), "f", CELLS)),
    (InvalidInput, Put("contract", "text", "f", CELLS)),  # type: ignore[arg-type]  # what this asks
    (InvalidInput, Put("contract", ROW, "f", {})),
    (InvalidInput, Put("contract", ROW, "f", {b"q": "text"})),  # type: ignore[dict-item]  # what this asks
    (InvalidInput, Put("contract", ROW, "f", {"q": b"v"})),  # type: ignore[dict-item]  # what this asks
    (InvalidInput, Put("contract", ROW, "f", CELLS, -1)),
    (InvalidInput, Put("contract", ROW, "f", CELLS, 2**63)),
    (InvalidInput, Delete("contract", ROW, None, [b"q"])),
    (InvalidInput, Delete("contract", b"")),
    (TooLarge, Put("contract", ROW, "f", {b"q": bytes(MAX_VALUE_BYTES + 1)})),
    (TooLarge, Put("contract", ROW, "f", {b"%d" % i: bytes(MAX_VALUE_BYTES) for i in range(5)})),
]


@pytest.mark.parametrize(("error", "mutation"), REFUSED, ids=range(len(REFUSED)))
def test_a_batch_with_a_fault_is_refused_whole(
    store: CellStore, own: bytes, error: type[KanameError], mutation: Mutation
) -> None:
    """What is wrong with one mutation is said, and none of them is applied."""
    with pytest.raises(error):
        store.write([put(own), mutation])
    assert store.get("contract", own) == {}


@pytest.mark.parametrize(
    "table",
    [
        Table("", {"f": Family()}),
        Table("a-b", {"f": Family()}),
        Table("1a", {"f": Family()}),
        Table("t" * 49, {"f": Family()}),
        Table("none", {}),
        Table("none", {"": Family()}),
        Table("none", {"f": Family(ttl_s=0)}),
        Table("none", {"f": Family(ttl_s=float("nan"))}),
        Table("none", {"f": Family(versions=0)}),
    ],
    ids=repr,
)
def test_a_table_that_no_store_can_keep_is_refused(store: CellStore, table: Table) -> None:
    """Names, times and numbers out of range; no table comes of it."""
    before = store.tables()
    with pytest.raises(InvalidInput):
        store.define(table)
    assert store.tables() == before


def test_reads_of_what_is_not_defined_are_refused(store: CellStore) -> None:
    """A table or family that is not there is no empty one; a scan says so when it is asked, not when it is read."""
    with pytest.raises(NotFound, match=r"missing.*no such table"):
        store.get_many("missing", [])
    with pytest.raises(NotFound, match=r"contract\.h.*expected one of f, g"):
        store.get("contract", ROW, {"h": None})
    with pytest.raises(NotFound):
        store.scan("contract", columns={"h": None})
    with pytest.raises(NotFound):
        store.get_first("contract", [], {"h": None})
    with pytest.raises(InvalidInput, match="versions"):
        store.get("contract", ROW, versions=0)
    with pytest.raises(InvalidInput, match="limit"):
        store.scan("contract", limit=-1)


def test_nothing_to_write_is_no_fault(store: CellStore) -> None:
    """An empty batch is written at once."""
    store.write([])
