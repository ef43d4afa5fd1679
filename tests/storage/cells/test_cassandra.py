"""Where rows lie in Cassandra, and how cells lie there; what needs no server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaname.features.schemas import schemas_in
from kaname.storage.cells.cassandra.catalog import Record
from kaname.storage.cells.cassandra.statements import LAST
from kaname.storage.cells.cassandra.values import DAY_S, MOST_TTL_S, SPARE, Excess, Found, seen, stored, ttl_of
from kaname.storage.cells.types import Cell, Family

NOW_US = 1_800_000_000_000_000
FAMILIES = {"f": Family(versions=2), "brief": Family(ttl_s=60.0)}
rows = st.binary(min_size=1, max_size=6) | st.sampled_from([b"\xff\xff", b"\xff\xff\xff", b"\0", b"ab", b"abc", b"ac"])


@given(rows, rows, rows, st.integers(0, 4))
def test_a_scan_asks_every_partition_that_its_rows_may_lie_in(a: bytes, b: bytes, row: bytes, lead_bytes: int) -> None:
    """Whatever the ends of the range, and however much of a key says where a row lies."""
    record = Record({"f": Family()}, buckets=16, lead_bytes=lead_bytes)
    start, stop = min(a, b), max(a, b)
    if start <= row < stop:
        assert record.bucket_of(row) in record.buckets_of(start, stop)
    assert record.bucket_of(row) in record.buckets_of(b"", LAST)


def test_rows_with_one_hash_lie_in_one_partition() -> None:
    """A layout that begins with a hash says so; all rows of one user are asked for there."""
    layout = schemas_in(
        "define relation r { u string key, n int32 key };"
        'define schema s for r on cells("main") { table "t", row hash(3)[u]:size{u}:n, family "f", value pack[] };'
    ).layouts["r"][0]
    assert layout.definition().lead_bytes == 3
    span = layout.span({"u": "u1"})
    record = Record({"f": Family()}, buckets=64, lead_bytes=3)
    assert span.stop is not None
    [bucket] = record.buckets_of(span.start, span.stop)
    assert {record.bucket_of(layout.key({"u": "u1", "n": n})) for n in range(50)} == {bucket}


def lying(stamp: int, value: bytes, put_us: int = 0, family: str = "f") -> Found:
    """A cell as it is read."""
    return b"row", family, b"q", stamp, stored(value, put_us)


def test_of_the_cells_that_lie_there_the_newest_are_seen() -> None:
    """In whatever order they lie; of two with one timestamp that which was put last."""
    found = [lying(1, b"a"), lying(3, b"old", 5), lying(3, b"new", 6), lying(2, b"b")]
    excess: list[Excess] = []
    assert seen(found, FAMILIES, None, 9, NOW_US, excess) == {"f": [Cell(b"q", 3, b"new"), Cell(b"q", 2, b"b")]}
    assert seen(found, FAMILIES, {"f": [b"x"]}, 9, NOW_US, excess) == {}
    assert excess == []


def test_cells_beyond_those_kept_are_removed_when_they_are_many() -> None:
    """All up to the newest that nobody sees."""
    excess: list[Excess] = []
    seen([lying(stamp, b"v") for stamp in range(2 + SPARE + 1)], FAMILIES, None, 1, NOW_US, excess)
    assert excess == [Excess(b"row", "f", b"q", SPARE)]


def test_what_is_over_is_not_seen_though_it_lies_there() -> None:
    """To the microsecond, which Cassandra's own time to live does not know."""
    for age_us, alive in ((60_000_000, False), (59_999_999, True)):
        found = [lying(NOW_US - age_us, b"v", family="brief")]
        assert bool(seen(found, FAMILIES, None, 1, NOW_US, [])) is alive


@pytest.mark.parametrize(
    ("ttl_s", "age_s", "kept_s"),
    [
        (None, 0, 0),
        (59.5, 0, 60 + DAY_S),
        (59.5, 50, 60 + DAY_S),
        (60.0, 60, None),
        (60.0, -2 * DAY_S, 0),
        (float(MOST_TTL_S), 0, 0),
    ],
)
def test_cassandra_keeps_cells_longer_than_they_are_seen(ttl_s: float | None, age_s: int, kept_s: int | None) -> None:
    """A day longer; for ever where it could not; not at all what is over already."""
    assert ttl_of(Family(ttl_s=ttl_s), NOW_US - age_s * 1_000_000, NOW_US) == kept_s
