"""Relations with their rows in a real store: every layout is written, the right one is read."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kaname.clock import SystemClock
from kaname.errors import InvalidInput, NotFound
from kaname.features.layout import StoreName
from kaname.features.opened import Features
from kaname.features.ranges import Within
from kaname.features.schemas import schemas_in
from kaname.storage.cells.lmdb.store import LmdbCells
from kaname.storage.cells.types import CellStore

TEXT = """
define relation order { user_id string key, at timestamp key, item string, price float64, tags json };
define schema by_user for order on cells("main") {
  table "by_user", row size{user_id}:desc{at}, family "f", qualifier attr_name[], value attr_value[]
};
define schema by_time for order on cells("main") {
  table "by_time", row at:user_id, family "f", value pack[]
};
define relation split { k string key, a string, b int32 };
define schema left for split on cells("main") { table "l", row k, family "f", value pack[a] };
define schema right for split on cells("other") { table "r", row k, family "f", value pack[b] };
define relation unplaced { k string key };
"""
T = datetime(2026, 1, 1, tzinfo=UTC)
ROW = {"user_id": "u1", "at": T, "item": "tea", "price": 2.5, "tags": ["hot"]}
KEY = {"user_id": "u1", "at": T}
DAY = timedelta(days=1)
NOTHING: dict[str, object] = {"item": None, "price": None, "tags": None}


Opened = dict[StoreName, CellStore]


@pytest.fixture
def stores() -> Opened:
    """The stores that `features` has opened."""
    return {}


@pytest.fixture
def features(tmp_path: Path, stores: Opened) -> Iterator[Features]:
    """The relations above in LMDB."""
    opened = made(tmp_path, stores)
    yield opened
    opened.close()


def made(folder: Path, stores: Opened) -> Features:
    """The same stores, opened once more."""

    def store(name: StoreName) -> CellStore:
        (folder / name.name).mkdir(exist_ok=True)
        stores[name] = LmdbCells(folder / name.name, SystemClock())
        return stores[name]

    return Features(lambda: schemas_in(TEXT), store, SystemClock())


def test_what_is_inserted_is_read_from_either_layout(features: Features, stores: Opened) -> None:
    """By the whole key, and all attributes or some."""
    orders = features.relation("order")
    assert orders.insert([ROW, {**ROW, "user_id": "u2", "item": None}]) == 2
    assert orders.get(KEY) == ROW
    assert orders.get(KEY, ["price"]) == {"price": 2.5}
    assert orders.get({**KEY, "user_id": "u3"}) is None
    assert orders.get_many([{**KEY, "user_id": "u2"}, KEY], ["item"]) == [{"item": None}, {"item": "tea"}]
    for layout in orders.layouts:
        rows = list(stores[layout.store].scan(layout.table))
        assert [layout.decode(row.key, row.cells)["user_id"] for row in rows] == ["u1", "u2"]


def test_a_row_is_written_over_and_deleted_in_every_layout(features: Features, stores: Opened) -> None:
    """Nothing of what it was is left."""
    orders = features.relation("order")
    orders.insert([ROW, {**KEY, "item": "cake"}])
    assert orders.get(KEY) == {**KEY, "item": "cake", "price": None, "tags": None}
    orders.insert([KEY, ROW])
    assert orders.get(KEY) == ROW
    orders.delete([KEY])
    assert orders.get(KEY) is None
    assert [list(stores[layout.store].scan(layout.table)) for layout in orders.layouts] == [[], []]


_KEYS = st.fixed_dictionaries({"user_id": st.sampled_from(["u1", "u2"]), "at": st.sampled_from([T, T + DAY])})
_VALUES = st.fixed_dictionaries(
    {},
    optional={
        "item": st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
        "price": st.none() | st.floats(allow_nan=False),
        "tags": st.none() | st.lists(st.integers(0, 9), max_size=3),
    },
)
_ROWS = st.builds(lambda key, values: {**key, **values}, _KEYS, _VALUES)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(_ROWS, max_size=4) | _KEYS, max_size=8))
def test_after_any_inserts_and_deletes_every_layout_has_the_last_rows(
    features: Features, stores: Opened, changes: list[list[dict[str, object]] | dict[str, object]]
) -> None:
    """A dict says what should be there; both layouts are scanned whole."""
    orders = features.relation("order")
    orders.delete({"user_id": user, "at": at} for user in ("u1", "u2") for at in (T, T + DAY))
    there: dict[tuple[object, object], dict[str, object]] = {}
    for change in changes:
        if isinstance(change, list):
            orders.insert(change)
            there |= {(row["user_id"], row["at"]): {**NOTHING, **row} for row in change}
        else:
            orders.delete([change])
            there.pop((change["user_id"], change["at"]), None)
    for layout in orders.layouts:
        rows = [layout.decode(row.key, row.cells) for row in stores[layout.store].scan(layout.table)]
        assert {(row["user_id"], row["at"]): row for row in rows} == there
        assert len(rows) == len(there)
    assert orders.get_many(list(there.values())) == list(there.values())


def test_one_bad_row_among_many_keeps_all_from_being_written(features: Features) -> None:
    """The error names it by its number."""
    orders = features.relation("order")
    with pytest.raises(InvalidInput) as error:
        orders.insert([ROW, {**ROW, "price": "much"}])
    assert error.value.where == "rows[1].price"
    assert orders.get(KEY) is None


def test_layouts_of_two_stores_make_up_a_row(features: Features) -> None:
    """Each holds a part; one that is asked for alone comes from its own."""
    split = features.relation("split")
    split.insert([{"k": "x", "a": "left", "b": 5}])
    assert split.get({"k": "x"}) == {"k": "x", "a": "left", "b": 5}
    assert split.get({"k": "x"}, ["b"]) == {"b": 5}
    assert split.get({"k": "y"}) is None


def test_some_attributes_are_updated_only_where_no_layout_packs_them(features: Features) -> None:
    """A pack would have to be read first."""
    orders = features.relation("order")
    orders.insert([ROW])
    with pytest.raises(InvalidInput, match="share a cell"):
        orders.update([{**KEY, "price": 3.0}])
    assert orders.get(KEY) == ROW


def test_a_scan_reads_the_rows_of_a_span_in_their_order(features: Features) -> None:
    """The newest of a user first where the layout says `desc`; the oldest of all in the other."""
    orders = features.relation("order")
    orders.insert({**ROW, "user_id": user, "at": T + day * DAY} for user in ("u1", "u2") for day in range(5))
    by_user, by_time = orders.layouts
    late = by_user.span({"user_id": "u2"}, Within(attribute="at", low=T + DAY, low_open=True))
    assert [row["at"] for row in orders.scan(by_user, late)] == [T + 4 * DAY, T + 3 * DAY, T + 2 * DAY]
    assert [row["at"] for row in orders.scan(by_user, late, limit=1, reverse=True)] == [T + 2 * DAY]
    assert [row["user_id"] for row in orders.scan(by_time, by_time.span({"at": T}))] == ["u1", "u2"]
    assert [row["at"] for row in orders.scan(by_time, by_time.span({}), limit=3)] == [T, T, T + DAY]


def test_rows_outlive_the_process_and_many_batches(tmp_path: Path) -> None:
    """More rows than one batch holds, read by another that opens the same folder."""
    rows = [{**ROW, "at": T + timedelta(seconds=i), "item": "x" * 2000} for i in range(3000)]
    first = made(tmp_path, {})
    assert first.relation("order").insert(rows) == 3000
    first.close()
    second = made(tmp_path, {})
    assert second.relation("order").get_many(rows) == rows
    second.close()


def test_what_is_not_there_is_said(features: Features) -> None:
    """Relations and attributes with others that are spelt nearly so."""
    with pytest.raises(NotFound, match="expected order"):
        features.relation("ordre")
    with pytest.raises(InvalidInput, match="has no place for rows"):
        features.relation("unplaced")
    with pytest.raises(InvalidInput, match="no such attribute of `order`"):
        features.relation("order").get(KEY, ["prise"])
