"""Any batches, then any reads: every store answers as the simplest one does."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kaname.clock import SystemClock
from kaname.storage.cells.memory import MemoryCells
from kaname.storage.cells.prefix import after
from kaname.storage.cells.types import MAX_ROW_BYTES, CellStore, Columns, Delete, Family, Mutation, Put, Table

TTL_S = 300.0
TABLES = {
    "random": Table("random", {"one": Family(), "three": Family(versions=3), "brief": Family(TTL_S, versions=2)}),
    "other": Table("other", {"one": Family()}, lead_bytes=5),
}
AGES_S = (-400, -399, -350, -250, -249, -3, -2, -1)
"""Seconds before now, well on either side of the time to live; few, so that they meet."""
PREFIX_BYTES = 4

rows = st.binary(max_size=2) | st.sampled_from(
    [b"", b"\0", b"\0\0", b"a", b"\xff", b"r" * (MAX_ROW_BYTES - PREFIX_BYTES)]
)
qualifiers = st.sampled_from([b"", b"\0", b"a", b"ab", b"\xff"])
ages_s = st.sampled_from(AGES_S)
examples = itertools.count(1)


@st.composite
def mutations(draw: st.DrawFn) -> Mutation:
    """A put or delete; its row lacks the prefix of the example, and its time counts from the example's moment."""
    table = draw(st.sampled_from(sorted(TABLES)))
    family = draw(st.sampled_from(sorted(TABLES[table].families)))
    if draw(st.integers(0, 3)):
        values = draw(st.dictionaries(qualifiers, st.binary(max_size=9), min_size=1))
        return Put(table, draw(rows), family, values, draw(ages_s))
    some = draw(st.none() | st.lists(qualifiers, max_size=2))
    whole = some is None and draw(st.booleans())
    return Delete(table, draw(rows), None if whole else family, some, draw(ages_s))


@st.composite
def reads(draw: st.DrawFn) -> tuple[str, Columns | None, bytes, bytes, dict[str, int], bool]:
    """Table, columns, two places, how much, and whether backwards."""
    table = draw(st.sampled_from(sorted(TABLES)))
    columns = draw(
        st.none()
        | st.dictionaries(st.sampled_from(sorted(TABLES[table].families)), st.none() | st.lists(qualifiers, max_size=2))
    )
    much = {"versions": draw(st.integers(1, 4)), "limit": draw(st.integers(0, 6))}
    return table, columns, draw(rows), draw(rows), much, draw(st.booleans())


def placed(mutation: Mutation, prefix: bytes, base_us: int, floors: dict[bytes, int]) -> Mutation:
    """The mutation in the rows and times of an example. What is put after a delete is newer than what that took."""
    row = prefix + mutation.row
    if isinstance(mutation, Put):
        assert mutation.timestamp_us is not None
        stamp = max(base_us + mutation.timestamp_us * 1_000_000, floors.get(row, 0) + 1)
        return Put(mutation.table, row, mutation.family, mutation.values, stamp)
    assert mutation.until_us is not None
    until = base_us + mutation.until_us * 1_000_000
    floors[row] = max(until, floors.get(row, 0))
    return Delete(mutation.table, row, mutation.family, mutation.qualifiers, until)


@pytest.fixture(scope="module")
def compared(store: CellStore) -> Iterator[tuple[CellStore, CellStore]]:
    """The store, and the one that it is compared with."""
    model = MemoryCells(SystemClock())
    for table in TABLES.values():
        store.define(table)
        model.define(table)
    yield store, model
    for name in TABLES:
        store.drop(name)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(mutations(), min_size=1, max_size=6), max_size=5), reads=st.lists(reads(), max_size=4))
def test_a_store_answers_as_the_simplest_one_does(
    compared: tuple[CellStore, CellStore],
    batches: list[list[Mutation]],
    reads: list[tuple[str, Columns | None, bytes, bytes, dict[str, int], bool]],
) -> None:
    """Rows, cells, versions, their order and what is gone: the same after every sequence of batches."""
    prefix = next(examples).to_bytes(PREFIX_BYTES, "big")
    base_us, floors = SystemClock().time_ns() // 1000, dict[bytes, int]()
    for batch in batches:
        ready = [placed(one, prefix, base_us, floors) for one in batch]
        for each in compared:
            each.write(ready)
    for table, columns, one, two, much, reverse in reads:
        first, versions = prefix + one, much["versions"]
        got, expected = (each.get(table, first, columns, versions=versions) for each in compared)
        assert got == expected
        many = [first, prefix + two, first]
        got_many, expected_many = (each.get_many(table, many, columns, versions=versions) for each in compared)
        assert got_many == expected_many
        scanned, known = (
            list(each.scan(table, first, prefix + two, columns=columns, reverse=reverse, **much)) for each in compared
        )
        assert scanned == known
        ranges = [(first, prefix + two), (prefix + two, first), (prefix, after(prefix)), (first, None)]
        firsts, known_firsts = (each.get_first(table, ranges, columns, reverse=reverse) for each in compared)
        assert firsts == known_firsts
    for table in TABLES:
        whole, all_known = (list(each.scan(table, prefix, after(prefix), versions=9)) for each in compared)
        assert whole == all_known
