"""When rows became known, said on every way by which rows come in: SQL, HTTP, files, Arrow, the command line."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kaname.errors import InvalidInput
from kaname.features.bulk.files import insert_file
from kaname.features.bulk.inserting import Insertion
from kaname.features.bulk.lines import JsonLines
from kaname.features.bulk.loading import FEW
from kaname.features.opened import Features
from kaname.storage.cells.memory import MemoryCells
from tests.features.history import test_history
from tests.features.history.test_history import DAY, T, told

clock, store, features = test_history.clock, test_history.store, test_history.features
"""Ten days after `T`."""
Z = "2026-01-01T00:00:00Z"
INTO = "INSERT INTO plane (tail, seats) VALUES ('N1', 5) KNOWN AT "

SAID: dict[str, tuple[str, Any]] = {
    "a text": (INTO + "'2026-01-02T00:00:00Z'", None),
    "a text of another zone": (INTO + "'2026-01-02T09:00:00+09:00'", None),
    "a literal": (INTO + "TIMESTAMP '2026-01-02T00:00:00Z';", None),
    "small letters": (INTO.replace("KNOWN AT", "known\n at") + "'2026-01-02T00:00:00Z'", None),
    "a parameter": (INTO + "?", [T + DAY]),
    "the last parameter": (INTO.replace("'N1', 5", "?, ?") + "?", ["N1", 5, T + DAY]),
    "by name": (INTO.replace("5", ":seats") + ":at", {"at": T + DAY, "seats": 5}),
}  # fmt: skip


@pytest.mark.parametrize("case", SAID)
def test_an_insert_says_when_its_rows_became_known(features: Features, case: str) -> None:
    """Behind the values."""
    sql, parameters = SAID[case]
    assert features.query(sql, parameters).changed == 1
    assert told(features, "plane") == [(T + DAY, "insert", {"tail": "N1", "seats": 5})]


def test_a_delete_says_when_rows_became_known_to_be_gone(features: Features) -> None:
    """What was written with a later moment stays."""
    features.relation("plane").insert([{"tail": "N1"}, {"tail": "N2"}], at=[T, T + 3 * DAY])
    sql = "DELETE FROM plane WHERE tail IN ('N1', 'N2') KNOWN AT ? ALLOW FILTERING"
    assert features.query(sql, [T + 2 * DAY]).changed == 2
    assert [row["tail"] for row in features.query("SELECT tail FROM plane ALLOW FILTERING")] == ["N2"]
    assert [(moment, kind) for moment, kind, _ in told(features, "plane")][1:3] == [(T + 2 * DAY, "delete")] * 2
    [plan] = features.query("EXPLAIN " + sql, [T]).all()
    assert plan["known_at"] == "TIMESTAMP '2026-01-01T00:00:00Z'"


def test_an_attribute_may_be_called_known_or_at() -> None:
    """The two words mean a moment only together, without quotes, behind a statement that writes."""
    text = "define relation r { known string key, at int32 };\n"
    text += 'define schema s for r on cells("m") { table "t", row known, family "f", value pack[] };'
    features = test_history.made(MemoryCells(test_history.at(T)), test_history.at(T), text)
    features.query("INSERT INTO r (known, at) VALUES ('KNOWN AT', 1)")
    assert features.query("SELECT known AS \"AT\", at FROM r WHERE known = 'KNOWN AT'").all() == [
        {"AT": "KNOWN AT", "at": 1}
    ]


REFUSED: dict[str, tuple[str, Any, str]] = {
    "no time": (INTO, None, "query:1:50: KNOWN AT without a time; expected `\\?` or a time with its zone"),
    "no zone": (INTO + "'2026-01-02T00:00:00'", None, "query:1:59: not a value of `KNOWN AT`, .*a time with its zone"),
    "a number": (INTO + "5", None, "query:1:59: not a value of `KNOWN AT`, which is timestamp; found 5"),
    "null": (INTO + "NULL", None, "query:1:59: not a moment; found null; expected a time with its zone"),
    "a function": (INTO + "now()", None, "query:1:59: not a value"),
    "two times": (INTO + "'2026-01-02T00:00:00Z', '2026-01-02T00:00:00Z'", None, "query:1:81: not SQL"),
    "a text as parameter": (INTO + "?", ["2026-01-02T00:00:00Z"], "query:1:59: .*found '2026-01-02T00:00:00Z'"),
    "no parameter": (INTO + "?", [], "parameters: not as many values .*found 0; expected 1"),
    "the future": (INTO + "'2026-01-31T00:00:00Z'", None, r"rows\[0\]: known in the future; found .*; expected at mo"),
    "before it happened": (
        "INSERT INTO plane (tail, seen_at) VALUES ('x', '2026-01-03T00:00:00Z') KNOWN AT '2026-01-02T00:00:00Z'",
        None,
        r"rows\[0\].seen_at: said to be known .*found 2026-01-03.*; expected a moment \(at\) not before it",
    ),
    "a query": ("SELECT * FROM plane WHERE tail = 'x' KNOWN AT '2026-01-02T00:00:00Z'", None, "query:1:38: not SQL"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_moment_that_is_none_is_refused_with_its_place(features: Features, case: str) -> None:
    """And nothing is written."""
    sql, parameters, expected = REFUSED[case]
    with pytest.raises(InvalidInput, match=f"(?s)^{expected}"):
        features.query(sql, parameters)
    assert told(features, "plane") == []


def inserting(features: Features) -> Insertion:
    """Lines of planes with a column of moments."""
    planes = features.relation("plane")
    return Insertion(planes, JsonLines(planes.relation, "known"), "known")


@pytest.mark.parametrize("count", [3, FEW + 3])
def test_arrow_and_lines_have_a_column_of_moments(features: Features, count: int) -> None:
    """Beside the attributes, or one of them; few rows and many."""
    names, times = [f"N{i:04}" for i in range(count)], [T + timedelta(seconds=i) for i in range(count)]
    later = [moment + DAY for moment in times]
    latest = [moment + DAY for moment in later]
    assert features.load("plane", pa.table({"tail": names, "seen_at": times}), at="seen_at") == count
    assert features.load("plane", pa.table({"tail": names, "known": later}), at="known") == count
    insertion = inserting(features)
    for name, moment in zip(names, latest, strict=True):
        insertion.feed(f'{{"tail": "{name}", "known": "{moment.isoformat()}"}}\n'.encode())
    assert insertion.finish() == count
    found = told(features, "plane")
    assert [moment for moment, *_ in found] == [*times, *later, *latest]
    assert [row.get("seen_at") for *_, row in found] == [*times, *[None] * (2 * count)]


def test_a_file_has_one_moment_or_many(features: Features, tmp_path: Path) -> None:
    """Parquet and lines."""
    planes = features.relation("plane")
    (tmp_path / "a.ndjson").write_text('{"tail": "N1"}\n{"tail": "N2"}\n')
    pq.write_table(pa.table({"tail": ["N3"], "t": [T + DAY]}), tmp_path / "b.parquet")
    assert insert_file(planes, tmp_path / "a.ndjson", at=T) == 2
    assert insert_file(planes, tmp_path / "b.parquet", at="t") == 1
    found = sorted((moment, row["tail"]) for moment, _, row in told(features, "plane"))
    assert found == [(T, "N1"), (T, "N2"), (T + DAY, "N3")]


COLUMNS: dict[str, tuple[dict[str, Any], str]] = {
    "no such column": ({}, "known: no such column; expected a column of moments"),
    "null": ({"known": pa.array([None], pa.timestamp("us", "UTC"))}, r"rows\[0\].known: no moment .*; found null"),
    "a text": ({"known": [Z]}, r"known: not a column of this attribute; found string; expected timestamp"),
    "no zone": ({"known": [datetime(2026, 1, 1)]}, "known: not a column of this attribute"),  # noqa: DTZ001
    "the future": ({"known": [T + 20 * DAY]}, r"rows\[0\]: known in the future"),
}


@pytest.mark.parametrize("case", COLUMNS)
def test_a_column_of_no_moments_is_refused(features: Features, case: str) -> None:
    """With its name and row."""
    given, expected = COLUMNS[case]
    with pytest.raises(InvalidInput, match=f"^{expected}"):
        features.load("plane", pa.table({"tail": ["N1"], **given}), at="known")
    assert told(features, "plane") == []


LINES: dict[str, tuple[Any, str]] = {
    "missing": (None, r"line 2.known: no moment at which the row became known; found null; expected a time"),
    "a number": (5, "line 2.known: not a value of this attribute; found int; expected a time"),
    "the future": ("2026-02-01T00:00:00Z", "line 2: known in the future"),
}


@pytest.mark.parametrize("case", LINES)
def test_a_line_without_its_moment_is_refused(features: Features, case: str) -> None:
    """With its number; of its batch nothing is written."""
    value, expected = LINES[case]
    insertion = inserting(features)
    insertion.feed(f'{{"tail": "a", "known": "{Z}"}}\n{json.dumps({"tail": "b", "known": value})}'.encode())
    with pytest.raises(InvalidInput, match=f"^{expected}"):
        insertion.finish()
    assert told(features, "plane") == []
