"""Arrow into relations and out of queries, in memory and as files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kaname.clock import SystemClock
from kaname.errors import InvalidInput
from kaname.features.bulk.files import insert_file, write_file
from kaname.features.bulk.loading import ROWS_AT_ONCE
from kaname.features.opened import Features
from kaname.features.schemas import schemas_in
from kaname.storage.cells.lmdb.store import LmdbCells

TEXT = """
define relation order {
  user_id string key, at timestamp key, item string, price float64, small float32, total decimal(9, 2), count int32,
  gift bool, day date, tags json, raw bytes, v vector<float32, 2>
};
define schema by_user for order on cells("main") {
  table "by_user", row size{user_id}:desc{at}, family "f", value pack[]
};
define schema by_time for order on cells("main") {
  table "by_time", row at:user_id, family "f", qualifier attr_name[], value attr_value[]
};
"""
T = datetime(2026, 1, 1, tzinfo=UTC)
ROW: dict[str, Any] = {
    "user_id": "ann", "at": T, "item": "tea", "price": 2.5, "small": 0.5, "total": Decimal("2.50"), "count": -3,
    "gift": True, "day": date(2026, 1, 31), "tags": {"hot": [1, None]}, "raw": b"\0\xff", "v": (0.5, 1.0),
}  # fmt: skip
NULL = dict.fromkeys(ROW)
ALL = "SELECT * FROM order ALLOW FILTERING"


@pytest.fixture
def features(tmp_path: Path) -> Iterator[Features]:
    """The relation above."""
    folder = tmp_path / "cells"
    folder.mkdir()
    opened = Features(lambda: schemas_in(TEXT), lambda _: LmdbCells(folder, SystemClock()), SystemClock())
    yield opened
    opened.close()


def test_what_comes_out_as_arrow_goes_in_again(features: Features) -> None:
    """Every type, with nulls; in both layouts."""
    rows = [ROW, {**NULL, "user_id": "bob", "at": T}]
    features.relation("order").insert(rows)
    table = features.query(ALL).table()
    assert table.schema.field("total").type == pa.decimal128(9, 2)
    assert table.schema.field("v").type == pa.list_(pa.float32(), 2)
    assert features.query("DELETE FROM order ALLOW FILTERING").changed == 2
    assert features.load("order", table) == 2
    assert features.query(ALL).all() == rows
    assert features.relation("order").get_many(rows) == rows
    assert features.query("SELECT * FROM order WHERE at = ?", [T]).all() == rows
    assert features.query(ALL).table().equals(table)


def test_an_empty_answer_has_its_columns(features: Features) -> None:
    """And is no rows to load."""
    table = features.query("SELECT user_id, at, price AS p FROM order LIMIT 1").table()
    assert (table.num_rows, table.schema.names) == (0, ["user_id", "at", "p"])
    assert features.load("order", table.drop_columns(["p"])) == 0


def test_some_columns_of_other_types_are_enough(features: Features) -> None:
    """What holds the same values may come in another type; what does not come is null."""
    table = pa.table(
        {
            "at": pa.array([T, T], pa.timestamp("ms", "Europe/Paris")),
            "user_id": pa.array(["ann", "bob"]).dictionary_encode(),
            "price": pa.array([1, None], pa.int8()),
            "total": pa.array([Decimal("1.5"), Decimal(2)], pa.decimal128(3, 1)),
            "item": pa.array(["x", None], pa.large_string()),
            "v": pa.array([[1, 2], None], pa.list_(pa.float64())),
            "tags": pa.nulls(2),
        }
    )
    assert features.load("order", table.to_reader()) == 2
    ann, bob = features.query(ALL).all()
    assert (ann["price"], ann["total"], ann["item"], ann["v"]) == (1.0, Decimal("1.50"), "x", (1.0, 2.0))
    assert bob == {**NULL, "user_id": "bob", "at": T, "total": Decimal("2.00")}


def test_many_batches_are_loaded_one_after_the_other(features: Features) -> None:
    """A row that comes twice stays as it came last."""
    count = 2 * ROWS_AT_ONCE + 10
    numbers = pa.array(range(count), pa.int32())
    table = pa.table(
        {
            "user_id": pa.array(["u"] * count),
            "at": pa.array(range(count), pa.int64()).cast(pa.timestamp("us", "UTC")),
            "count": numbers,
        }
    )
    assert (
        features.load(
            "order", pa.concat_tables([table, table.slice(0, 1).set_column(2, "count", pa.array([7], pa.int32()))])
        )
        == count + 1
    )
    found = features.query("SELECT count FROM order WHERE user_id = 'u' ORDER BY at")
    assert [row["count"] for row in found] == [7, *range(1, count)]


COLUMNS: dict[str, tuple[dict[str, Any], str]] = {
    "a column that is no attribute": ({"prise": [1.0]}, "^prise: no such attribute"),
    "a text for a number": ({"price": ["1"]}, r"^price: not a column of this attribute; found string; expected double"),
    "a number for a text": ({"item": [1]}, "^item: not a column of this attribute; found int64"),
    "a fraction for a whole number": ({"count": [1.5]}, "^count: .*truncated"),
    "a number out of range": ({"count": [1 << 40]}, "^count: .*not in range"),
    "a number that float32 has not": ({"small": [1e300]}, r"^rows\[0\].small: too large for float32"),
    "digits that a decimal has not": ({"total": [Decimal("1.005")]}, "^total: not a column of this attribute"),
    "a time without a zone": ({"at": [datetime(2026, 1, 1)]}, "^at: .*found timestamp"),  # noqa: DTZ001
    "a time between microseconds": ({"at": pa.array([1], pa.timestamp("ns", "UTC"))}, "^at: .*lose data"),
    "null in the key": ({"user_id": pa.nulls(1)}, r"^rows\[0\].user_id: a key attribute is null"),
    "a number in a vector that float32 has not": ({"v": [[1.0, 1e300]]}, r"^rows\[0\].v: too large for float32"),
    "a vector too short": ({"v": [[1.0]]}, "^v: "),
    "null in a vector": ({"v": [[1.0, None]]}, r"^rows\[0\].v: "),
    "text that is no JSON": ({"tags": ["{"]}, r"^rows\[0\].tags: not JSON"),
    "a key too long": ({"user_id": ["x" * 600]}, r"^rows\[0\].user_id: the row key is too long"),
}


@pytest.mark.parametrize("case", COLUMNS)
def test_a_column_that_does_not_fit_is_refused(features: Features, case: str) -> None:
    """With its name, what it is and what is expected; nothing of its batch is written."""
    given, expected = COLUMNS[case]
    with pytest.raises(InvalidInput, match=expected):
        features.load("order", pa.table({"user_id": ["u"], "at": [T], **given}))
    assert features.query(ALL).all() == []


def test_a_missing_key_and_a_column_that_comes_twice_are_refused(features: Features) -> None:
    """There is no row without a key."""
    with pytest.raises(InvalidInput, match=r"^at: a key attribute is missing"):
        features.load("order", pa.table({"user_id": ["u"]}))
    with pytest.raises(InvalidInput, match=r"^user_id: no such attribute, or one that comes twice"):
        features.load("order", pa.Table.from_arrays([pa.array(["u"])] * 2, ["user_id", "user_id"]))


def test_a_bad_row_far_behind_is_counted_from_the_start(features: Features) -> None:
    """What came before it stays."""
    users = ["u"] * (ROWS_AT_ONCE + 3)
    users[-1] = "x" * 600
    at = pa.array(range(len(users)), pa.int64()).cast(pa.timestamp("us", "UTC"))
    with pytest.raises(InvalidInput, match=rf"^rows\[{ROWS_AT_ONCE + 2}\].user_id: the row key is too long"):
        features.load("order", pa.table({"user_id": users, "at": at}))
    assert len(features.query(ALL).all()) == ROWS_AT_ONCE


@pytest.mark.parametrize("ending", ["parquet", "arrow", "ndjson"])
def test_files_hold_rows(features: Features, tmp_path: Path, ending: str) -> None:
    """Out and in again, under the name of the file only when it is complete."""
    rows = [ROW, {**NULL, "user_id": "bob", "at": T}]
    features.relation("order").insert(rows)
    path, seen = tmp_path / f"rows.{ending}", list[int]()
    assert write_file(features.query(ALL), path, seen.append) == 2
    assert (seen, sorted(tmp_path.glob("rows*"))) == ([2], [path])
    features.query("DELETE FROM order ALLOW FILTERING")
    assert insert_file(features.relation("order"), path) == 2
    assert features.query(ALL).all() == rows


def test_a_file_that_is_none_is_refused(features: Features, tmp_path: Path) -> None:
    """Its name, its kind, its bytes."""
    orders = features.relation("order")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "broken.arrow").write_bytes(b"x")
    (tmp_path / "broken.ndjson").write_text(json.dumps({"user_id": "u"}))
    for name, expected in {
        "nosuch.parquet": "cannot be read",
        "rows.txt": "not a kind of file for rows; expected .parquet",
        "broken.parquet": "not a file of its kind",
        "broken.arrow": "not a file of its kind",
        "broken.ndjson": "line 1.at: a key attribute is missing",
    }.items():
        with pytest.raises(InvalidInput, match=expected):
            insert_file(orders, tmp_path / name)


def test_a_parquet_file_is_compressed_and_typed(features: Features, tmp_path: Path) -> None:
    """As others read it."""
    features.relation("order").insert([ROW])
    write_file(features.query("SELECT at, total FROM order LIMIT 1"), tmp_path / "r.parquet")
    assert pq.read_table(tmp_path / "r.parquet").to_pylist() == [{"at": T, "total": Decimal("2.50")}]
