"""The history of a relation: every write is kept with the moment at which it became known, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaname.clock import ManualClock
from kaname.errors import InvalidInput
from kaname.features.history.exporting import AT, CHANGE, NAMED, ROWS_AT_ONCE, export_parquet, schema_of
from kaname.features.layout import StoreName
from kaname.features.opened import Features
from kaname.features.schemas import schemas_in
from kaname.storage.cells.lmdb.store import LmdbCells
from kaname.storage.cells.memory import MemoryCells
from kaname.storage.cells.types import CellStore
from tests.features.generated import examples

T = datetime(2026, 1, 1, tzinfo=UTC)
DAY, SECOND = timedelta(days=1), timedelta(seconds=1)
TEXT = """
define relation plane with history {
  tail string key, seats int32, seen_at timestamp, due_at timestamp planned, notes json
};
define schema planes for plane on cells("main") {
  table "planes", row tail, family "f", qualifier attr_name[], value attr_value[]
};
define relation gate with history(2 days) { name string key, free bool };
define schema gates for gate on cells("main") { table "gates", row name, family "f", value pack[] };
define relation quiet { name string key };
define schema quiets for quiet on cells("main") { table "quiet", row name, family "f", value pack[] };
"""


def at(moment: datetime) -> ManualClock:
    """A clock that stands at a moment."""
    return ManualClock(round(moment.timestamp()) * 1_000_000_000)


@pytest.fixture
def clock() -> ManualClock:
    """Ten days after `T`."""
    return at(T + 10 * DAY)


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock) -> LmdbCells:
    """What `features` has opened."""
    return LmdbCells(tmp_path, clock)


@pytest.fixture
def features(store: LmdbCells, clock: ManualClock) -> Iterator[Features]:
    """The relations above in LMDB."""
    opened = made(store, clock)
    yield opened
    opened.close()


def made(store: CellStore, clock: ManualClock, text: str = TEXT) -> Features:
    """Relations of a text in a store."""

    def opened(_: StoreName) -> CellStore:
        return store

    return Features(lambda: schemas_in(text), opened, clock)


def told(features: Features, relation: str, *bounds: datetime) -> list[tuple[datetime, str, dict[str, object]]]:
    """Moment, kind and what was written, of each write; of an update only what it names."""
    found: list[tuple[datetime, str, dict[str, object]]] = []
    for change in features.relation(relation).changes(*bounds):
        row = {n: v for n, v in change.row.items() if v is not None or (change.named and n in change.named)}
        found.append((datetime.fromtimestamp(change.at_us / 1e6, UTC), change.kind, row))
    return found


def test_every_write_is_kept_with_its_moment(features: Features, clock: ManualClock) -> None:
    """Inserts, updates, and deletes, in the order in which they became known; without `at` that is now."""
    planes = features.relation("plane")
    planes.insert([{"tail": "N1", "seats": 100, "notes": {"a": [1]}}], at=T)
    planes.insert([{"tail": "N2"}, {"tail": "N3"}], at=[T + 2 * DAY, T + DAY])
    planes.update([{"tail": "N1", "seats": None}], at=T + 3 * DAY)
    planes.delete([{"tail": "N2", "seats": 5}])
    now = T + 10 * DAY
    assert told(features, "plane") == [
        (T, "insert", {"tail": "N1", "seats": 100, "notes": {"a": [1]}}),
        (T + DAY, "insert", {"tail": "N3"}),
        (T + 2 * DAY, "insert", {"tail": "N2"}),
        (T + 3 * DAY, "update", {"tail": "N1", "seats": None}),
        (now, "delete", {"tail": "N2"}),
    ]
    assert told(features, "plane", T + DAY, T + 3 * DAY) == told(features, "plane")[1:3]
    assert planes.get({"tail": "N1"}, ["seats", "notes"]) == {"seats": None, "notes": {"a": [1]}}
    assert planes.get({"tail": "N2"}) is None


def test_rows_of_arrow_are_kept_like_others(features: Features) -> None:
    """Many at once, as columns."""
    import pyarrow as pa

    from kaname.features.bulk.loading import load

    table = pa.table({"tail": ["N1", "N2"], "seats": pa.array([100, None], pa.int32())})
    assert load(features.relation("plane"), table) == 2
    assert [(kind, row) for _, kind, row in told(features, "plane")] == [
        ("insert", {"tail": "N1", "seats": 100}),
        ("insert", {"tail": "N2"}),
    ]


def test_rows_are_written_in_the_order_of_their_moments(features: Features) -> None:
    """What became known later stays, in whatever order a call has them; of one moment it is the later row."""
    gates = features.relation("gate")
    gates.insert([{"name": "a", "free": True}, {"name": "a", "free": False}], at=[T + 9 * DAY, T + 8.5 * DAY])
    gates.insert([{"name": "b", "free": True}, {"name": "b", "free": None}], at=T + 9 * DAY)
    assert gates.get({"name": "a"}) == {"name": "a", "free": True}
    assert gates.get({"name": "b"}) == {"name": "b", "free": None}
    assert len(told(features, "gate")) == 4


def test_a_history_ends_after_its_time(features: Features, clock: ManualClock) -> None:
    """Counted from the moment at which a write became known; the row itself stays."""
    gates = features.relation("gate")
    gates.insert([{"name": "old", "free": True}, {"name": "new", "free": True}], at=[T + 7 * DAY, T + 9 * DAY])
    assert [row["name"] for _, _, row in told(features, "gate")] == ["new"]
    clock.advance(ms=2 * 86_400_000)
    assert told(features, "gate") == []
    assert gates.get({"name": "old"}) is not None


def test_a_changed_time_to_keep_is_taken_over(store: LmdbCells, clock: ManualClock) -> None:
    """A longer one holds for what is there still."""
    made(store, clock).relation("gate").insert([{"name": "a", "free": True}], at=T + 9 * DAY)
    longer = made(store, clock, TEXT.replace("2 days", "20 days"))
    longer.relation("gate")
    clock.advance(ms=5 * 86_400_000)
    assert len(told(longer, "gate")) == 1
    longer.close()


NOT_KNOWN: dict[str, tuple[dict[str, Any], Any, str]] = {
    "the future": ({"tail": "x"}, T + 11 * DAY, "rows[0]: known in the future; found at=2026-01-12"),
    "before it happened": (
        {"tail": "x", "seen_at": T + DAY},
        T,
        "rows[0].seen_at: said to be known at 2026-01-01T00:00:00+00:00, before it happened; found 2026-01-02",
    ),
    "no zone": ({"tail": "x"}, datetime(2026, 1, 1), "at: not a moment"),  # noqa: DTZ001  (the fault)
    "before 1970": ({"tail": "x"}, datetime(1969, 1, 1, tzinfo=UTC), "at: not a moment at which something"),
    "no moment": ({"tail": "x"}, ["yesterday"], "at: not a moment; found 'yesterday'"),
    "too few": ({"tail": "x"}, [], "at: not a moment for each row; found 0; expected 1"),
}


@pytest.mark.parametrize(("row", "moment", "said"), NOT_KNOWN.values(), ids=NOT_KNOWN.keys())
def test_what_could_not_be_known_is_refused(features: Features, row: dict[str, Any], moment: Any, said: str) -> None:
    """Nothing is written, and the error says what stood against it."""
    planes = features.relation("plane")
    with pytest.raises(InvalidInput) as error:
        planes.insert([row], at=moment)
    assert str(error.value).startswith(said)
    assert planes.get({"tail": "x"}) is None
    assert told(features, "plane") == []


def test_a_planned_time_may_lie_ahead(features: Features) -> None:
    """What the schema calls planned is known before it happens; a moment may have any zone."""
    tokyo = timezone(9 * timedelta(hours=1))
    row = {"tail": "x", "due_at": T + 30 * DAY, "seen_at": T}
    features.relation("plane").insert([row], at=T.astimezone(tokyo))
    assert told(features, "plane") == [(T, "insert", row)]


def test_a_relation_keeps_no_history_unless_it_asks(features: Features, store: LmdbCells) -> None:
    """A write at a moment is possible all the same."""
    quiet = features.relation("quiet")
    quiet.insert([{"name": "a"}], at=T)
    assert "history_quiet" not in [table.name for table in store.tables()]
    with pytest.raises(InvalidInput, match=r"the writes of this relation are not kept; expected .*with history"):
        quiet.changes()


def test_a_row_and_its_history_are_one_batch(tmp_path: Path, clock: ManualClock) -> None:
    """A store that fails in between has neither."""

    class Failing(MemoryCells):
        def write(self, mutations: Any) -> None:
            written.append({mutation.table for mutation in mutations})
            super().write(mutations)

    written: list[set[str]] = []
    features = made(Failing(clock), clock)
    planes = features.relation("plane")
    written.clear()
    planes.insert([{"tail": "N1"}], at=T)
    planes.delete([{"tail": "N1"}])
    assert written == [{"planes", "history_plane"}] * 2


def test_what_was_written_under_another_schema_stays_readable(store: LmdbCells, clock: ManualClock) -> None:
    """Attributes added, taken away, moved, or of another type: what is there of before is read, the rest is null."""
    planes = made(store, clock).relation("plane")
    planes.insert([{"tail": "N1", "seats": 3, "seen_at": T}], at=T)
    planes.delete([{"tail": "N1"}], at=T + SECOND)  # with rows there, such a change would be refused
    text = """
    define relation plane with history { range_km float64, seen_at timestamp, seats string, tail string key };
    define schema other for plane on cells("main") { table "others", row tail, family "f", value pack[] };
    """
    changed = made(store, clock, text)
    changed.relation("plane").update([{"tail": "N1", "seats": "4", "range_km": 1.5, "seen_at": T}], at=T + DAY)
    assert told(changed, "plane") == [
        (T, "insert", {"tail": "N1", "seen_at": T}),
        (T + SECOND, "delete", {"tail": "N1"}),
        (T + DAY, "update", {"tail": "N1", "seats": "4", "range_km": 1.5, "seen_at": T}),
    ]
    changed.close()


@settings(deadline=None)  # the first one loads Arrow
@given(st.data())
def test_every_row_comes_back_as_it_was_written(data: st.DataObject) -> None:
    """Of generated relations, with every type, in Arrow as in Python."""
    example = data.draw(examples())
    text = example.text.replace("define relation r {", "define relation r with history {")
    clock = at(T)
    features = made(MemoryCells(clock), clock, text)
    rows = data.draw(st.lists(example.rows, max_size=4))
    relation = features.relation("r")
    relation.insert(rows)
    assert [change.row for change in relation.changes()] == rows
    found = [row for batch in relation.history() for row in batch.to_pylist()]
    assert [row[CHANGE] for row in found] == ["insert"] * len(rows)
    assert [row[AT] for row in found] == [T + i * timedelta(microseconds=1) for i in range(len(rows))]
    plain = [a.name for a in relation.relation.attributes if a.type.name not in ("json", "vector")]
    assert [{name: row[name] for name in plain} for row in found] == [{n: row[n] for n in plain} for row in rows]


def test_a_long_history_is_exported_in_parts(features: Features, tmp_path: Path) -> None:
    """Batches of a bounded size make one Parquet file, under its name when it is whole."""
    from pyarrow import parquet

    count = 2 * ROWS_AT_ONCE + 1
    planes = features.relation("plane")
    planes.insert([{"tail": f"N{i}", "seats": i} for i in range(count)], at=[T + i * SECOND for i in range(count)])
    planes.update([{"tail": "N7", "seats": 1}])
    sizes: list[int] = []
    path = tmp_path / "history.parquet"
    schema = schema_of(planes.relation.attributes)
    assert export_parquet(planes.history(stop=T + 10 * DAY + SECOND), schema, path, sizes.append) == count + 1
    assert sizes == [ROWS_AT_ONCE, 2 * ROWS_AT_ONCE, count + 1]
    table = parquet.read_table(path)
    assert table.column("seats").to_pylist() == [*range(count), 1]
    assert table.column(NAMED).to_pylist()[-2:] == [None, ["seats", "tail"]]
    with pytest.raises(OSError, match="No such file"):
        export_parquet(planes.history(), schema, tmp_path / "nowhere" / "x.parquet", sizes.append)
    with pytest.raises(InvalidInput, match=r"x\.csv: not a Parquet file"):
        export_parquet(planes.history(), schema, tmp_path / "x.csv", sizes.append)
    assert [each.name for each in tmp_path.glob("*.draft")] == []
