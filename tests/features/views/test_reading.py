"""Views read from a real store: the values, their ages, what stands for missing ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kaname.clock import SystemClock
from kaname.errors import CorruptData, InvalidInput, KanameError, NotFound, Unavailable
from kaname.features.layout import StoreName
from kaname.features.opened import Features
from kaname.features.schemas import load as load_schemas
from kaname.features.views.loading import examine
from kaname.project import Files
from kaname.storage.cells.lmdb.store import LmdbCells
from kaname.storage.cells.types import Put
from tests.features.views.declared import VIEW, project

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
USER = {"user_id": "u1", "age": 40, "country": "JP", "score": 0.5, "seen": NOW, "taste": (1.0, 2.0), "plan": {"a": 1}}
ORDER = {"user_id": "u1", "placed_at": NOW, "item": "tea", "price": 20.5, "item_taste": (3.0, 4.0)}


class SetClock(SystemClock):
    """A clock whose wall time is set."""

    def __init__(self) -> None:
        self.now = NOW

    def time_ns(self) -> int:
        return int(self.now.timestamp()) * 1_000_000_000

    def later(self, **by: float) -> None:
        """Let time pass."""
        self.now += timedelta(**by)


@pytest.fixture
def clock() -> SetClock:
    """Noon."""
    return SetClock()


Open = Callable[[str], Features]


@pytest.fixture
def opened(tmp_path: Path, clock: SetClock) -> Iterator[Open]:
    """Opens the relations of these tests with one view, in LMDB."""
    made: list[Features] = []

    def store(name: StoreName) -> LmdbCells:
        folder = tmp_path / "cells" / name.name
        folder.mkdir(parents=True, exist_ok=True)
        return LmdbCells(folder, clock)

    def open_features(view: str) -> Features:
        root = project(tmp_path, view)
        files = Files(root)
        views = lambda schemas: examine(root, schemas, files.examined)  # noqa: E731
        made.append(Features(lambda: load_schemas(root, files.text), store, clock, views))
        return made[-1]

    yield open_features
    for features in made:
        features.close()


def test_a_view_is_read_by_the_entity(opened: Open) -> None:
    """Values under the names of the view, in its order; columns computed from them."""
    features = opened(VIEW)
    features.relation("user").insert([USER])
    features.relation("order").insert([ORDER])
    row = features.view("buyer").read({"user_id": "u1"})
    assert row == {
        "age": 40, "country": "JP", "points": 0.5, "price": 20.5, "last": NOW, "per_year": 0.5, "home": True,
        "grown": True,
    }  # fmt: skip
    assert list(row) == list(features.view("buyer").view.types)
    assert features.view("buyer") is features.view("buyer")
    with pytest.raises(NotFound, match="no such view; found byer"):
        features.view("byer")


def test_many_entities_come_in_their_order(opened: Open) -> None:
    """Also one that is there twice, and none."""
    features = opened(VIEW)
    features.relation("user").insert([{**USER, "user_id": f"u{n}", "age": n} for n in range(300)])
    features.relation("order").insert([{**ORDER, "user_id": f"u{n}", "price": float(n)} for n in range(300)])
    entities = [{"user_id": f"u{n}"} for n in (*range(299, -1, -1), 7)]
    rows = features.view("buyer").read(entities)
    assert [row["age"] for row in rows] == [*range(299, -1, -1), 7]
    assert rows == [features.view("buyer").read(entity) for entity in entities]
    assert features.view("buyer").read([]) == []


def test_defaults_stand_for_what_is_missing_null_or_old(opened: Open, clock: SetClock) -> None:
    """The age of a newest row counts from the time in its key."""
    features = opened(VIEW)
    view = features.view("buyer")
    features.relation("user").insert([{**USER, "age": None, "country": None}])
    assert {name: view.read({"user_id": "u1"})[name] for name in ("age", "country", "price", "last", "per_year")} == {
        "age": 30, "country": None, "price": 0.0, "last": None, "per_year": 0.0,
    }  # fmt: skip
    features.relation("order").insert([ORDER])
    for seconds, expected in ((60, (20.5, NOW)), (1, (0.0, NOW)), (3539, (0.0, NOW)), (1, (0.0, None))):
        clock.later(seconds=seconds)
        row = view.read({"user_id": "u1"})
        assert (row["price"], row["last"]) == expected


def test_the_newest_row_is_not_one_of_the_future(opened: Open, clock: SetClock) -> None:
    """Nor one of another entity; at its time it is read."""
    features = opened(VIEW)
    features.relation("user").insert([USER, {**USER, "user_id": "u2"}, {**USER, "user_id": "u"}])
    placed = [
        ("u1", -60, 1.0),
        ("u1", -30, 2.0),
        ("u1", 30, 3.0),
        ("u2", -10, 9.0),
    ]
    features.relation("order").insert(
        [{**ORDER, "user_id": u, "placed_at": NOW + timedelta(seconds=s), "price": p} for u, s, p in placed]
    )
    view = features.view("buyer")
    assert [row["price"] for row in view.read([{"user_id": u} for u in ("u1", "u2", "u")])] == [2.0, 9.0, 0.0]
    clock.later(seconds=30)
    assert view.read({"user_id": "u1"})["price"] == 3.0


ASCENDING = """\
name: port
entity: [airport]
reads:
  - relation: gate
    key: {code: airport}
    latest: hour
    features: {delay: {default: -1.0}, hour: {default: null}}
derived:
  waited: now - hour
"""
GATES = """
define relation gate { code string key, hour timestamp key, delay float64 };
define schema by_code for gate on cells("main") {
  table "gates", row hash(2)[code]:size{code}:hour:hash(1)[hour], family "f", value pack[]
};
"""


def test_rows_in_rising_order_of_time_are_read_from_their_end(opened: Open, tmp_path: Path) -> None:
    """The same under hashes, in front of the key and behind it."""
    features = opened(ASCENDING)
    (tmp_path / "features" / "gate.schema").write_text(GATES)
    rows = [
        {"code": c, "hour": NOW + timedelta(hours=h), "delay": float(h)} for c in ("HND", "NRT") for h in range(-3, 3)
    ]
    features.relation("gate").insert(rows)
    found = features.view("port").read([{"airport": "HND"}, {"airport": "KIX"}])
    assert [row["delay"] for row in found] == [0.0, -1.0]
    assert [row["waited"] for row in found] == [0.0, None]
    assert found[0]["hour"] == NOW


STRICT = """\
name: strict
entity: [user_id]
reads:
  - relation: user
    max_age_s: 60
    features: {age: , country: }
"""


def test_without_a_default_it_is_an_error(opened: Open, clock: SetClock) -> None:
    """Which says whether there is no row, no value, or none that is fresh enough."""
    features = opened(STRICT)
    view, users = features.view("strict"), features.relation("user")
    with pytest.raises(InvalidInput, match=r"features.age: no row of `user` for this entity"):
        view.read({"user_id": "u1"})
    users.insert([{**USER, "country": None}])
    with pytest.raises(InvalidInput, match=r"features.country: null in `user`; expected a value, or a default"):
        view.read({"user_id": "u1"})
    users.update([{"user_id": "u1", "country": "JP"}])
    assert view.read([{"user_id": "u1"}]) == [{"age": 40, "country": "JP"}]
    clock.later(seconds=50)
    users.update([{"user_id": "u1", "country": "FR"}])
    clock.later(seconds=11)
    with pytest.raises(Unavailable, match=r"features.age: too old in `user`; found 61 s; expected at most 60 s"):
        view.read({"user_id": "u1"})


WRONG: dict[str, tuple[dict[str, object], str]] = {
    "nothing": ({}, "entity.user_id: an entity key is missing; expected string"),
    "another key": ({"user": "u1"}, "entity.user: not an entity key of this view; expected one of user_id"),
    "one too many": ({"user_id": "u1", "x": 1}, "entity.x: not an entity key"),
    "null": ({"user_id": None}, "entity.user_id: not a value of this attribute.*found null; expected text"),
    "a number": ({"user_id": 7}, "entity.user_id: not a value of this attribute.*found 7; expected text"),
    "too long": ({"user_id": "u" * 501}, "entity.user_id: the row key is too long"),
    "empty": ({"user_id": ""}, "entity.user_id: the row key is empty"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_entity_is_refused_with_its_key(opened: Open, case: str) -> None:
    """For one and for many."""
    entity, message = WRONG[case]
    view = opened(VIEW).view("buyer")
    for ask in (lambda: view.read(entity), lambda: view.read([entity])):
        with pytest.raises(InvalidInput, match=message):
            ask()


def test_values_are_explained(opened: Open, clock: SetClock) -> None:
    """Each with its age and where it came from."""
    features = opened(VIEW)
    features.relation("user").insert([{**USER, "country": None}])
    clock.later(seconds=30)
    used = features.view("buyer").explain({"user_id": "u1"})
    assert {name: (u.value, u.origin, u.age_s) for name, u in used.items()} == {
        "age": (40, "store", 30.0),
        "country": (None, "default", None),
        "points": (0.5, "store", 30.0),
        "price": (0.0, "default", None),
        "last": (None, "default", None),
        "per_year": (0.0, "derived", None),
        "home": (False, "derived", None),
        "grown": (True, "derived", None),
    }


SPLIT = """
define relation both { k string key, a string, b int32 };
define schema left for both on cells("main") { table "l", row k, family "f", value pack[a] };
define schema right for both on cells("other") { table "r", row k, family "f", value pack[b] };
"""
SPLIT_VIEW = "name: split\nentity: [k]\nreads: [{relation: both, features: {a: , b: }}]"


def test_a_row_in_two_stores_is_read_from_both(opened: Open, tmp_path: Path) -> None:
    """Where no layout holds all that a view reads."""
    features = opened(SPLIT_VIEW)
    (tmp_path / "features" / "both.schema").write_text(SPLIT)
    features.relation("both").insert([{"k": "1", "a": "x", "b": 2}])
    assert features.view("split").read({"k": "1"}) == {"a": "x", "b": 2}


def test_bytes_of_no_row_are_an_error_of_the_store(opened: Open, tmp_path: Path, clock: SetClock) -> None:
    """Not a missing value."""
    features = opened(SPLIT_VIEW)
    (tmp_path / "features" / "both.schema").write_text(SPLIT)
    features.relation("both").insert([{"k": "1", "a": "x", "b": 2}])
    store = LmdbCells(tmp_path / "cells" / "main", clock)
    store.write([Put("l", b"1", "f", {b"": b"\x09"})])
    store.close()
    with pytest.raises(CorruptData, match="not a row of schema `left`") as raised:
        features.view("split").read({"k": "1"})
    assert isinstance(raised.value, KanameError)
