"""Training sets: what their files hold, what is refused, and that nothing which became known later is in them."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from kaname.errors import InvalidInput, KanameError, NotFound
from kaname.features.training.labels import ROWS_AT_ONCE
from tests.features.training.made import Project, T

SCHEMAS = """
define relation user with history { user_id int64 key, score float64, born date };
define schema users for user on cells("main") { table "users", row user_id, family "f", value pack[] };
define relation visit with history { user_id int64 key, at timestamp key, page string };
define schema visits for visit on cells("main") {
  table "visits", row user_id:desc{at}, family "f", value pack[]
};
"""
VIEW = """
name: buyer
entity: [user_id]
reads:
  - relation: user
    features: {score: {default: 0.0}, born: {default: null}}
  - relation: visit
    latest: at
    features: {page: {default: null}, seen: {attribute: at, default: null}}
derived:
  ago_s: now - seen
"""
SECOND = timedelta(seconds=1)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """The relations and the view above, an hour after `T`."""
    made = Project(tmp_path, SCHEMAS, VIEW)
    made.clock.advance(ms=3_600_000)
    return made


def written(project: Project, text: str, name: str = "labels.csv") -> Path:
    """A file of labels."""
    path = project.root / name
    path.write_text(text)
    return path


def test_labels_of_csv_keep_their_columns_and_order(project: Project) -> None:
    """Whatever the file holds comes first, then the view; as CSV again."""
    users, visits = project.features.relation("user"), project.features.relation("visit")
    users.insert([{"user_id": 1, "score": 1.5}, {"user_id": 2, "score": 2.5}], at=T)
    users.insert([{"user_id": 1, "score": 9.0}], at=T + 100 * SECOND)
    visits.insert([{"user_id": 1, "at": T, "page": "start"}], at=T)
    visits.insert([{"user_id": 1, "at": T + 5 * SECOND, "page": "end"}], at=T + 20 * SECOND)
    text = "late,user_id,time\n1,1,2026-01-01T00:00:10Z\n0,2,2026-01-01T09:00:00+09:00\n1,1,2026-01-01 00:00:20Z\n"
    output = project.root / "set.csv"
    summary = project.features.training_set("buyer", written(project, text), output)
    rows = csv.read_csv(output).to_pylist()
    assert list(rows[0]) == ["late", "user_id", "time", "score", "born", "page", "seen", "ago_s"]
    assert [(row["late"], row["user_id"], row["score"], row["page"], row["ago_s"]) for row in rows] == [
        (1, 1, 1.5, "start", 10.0),
        (0, 2, 2.5, "", None),
        (1, 1, 1.5, "end", 15.0),
    ]
    assert summary.rows == 3
    assert summary.defaults == {"score": 0.0, "born": 1.0, "page": 1 / 3, "seen": 1 / 3}


def test_an_update_of_nothing_makes_no_row(project: Project) -> None:
    """It names a key alone: the view sees no row, and neither does a training set."""
    project.features.relation("visit").update([{"user_id": 1, "at": T}], at=T)
    assert project.features.view("buyer").read({"user_id": 1})["seen"] is None
    [row] = project.training_set([{"user_id": 1, "time": project.now}]).to_pylist()
    assert row["seen"] is None


def test_what_came_late_is_not_known_before(project: Project) -> None:
    """A visit that became known ten seconds after it happened is in no label between, and a newer visit of which the
    message came earlier is not forgotten when it comes."""
    visits = project.features.relation("visit")
    visits.insert([{"user_id": 1, "at": T + 2 * SECOND, "page": "second"}], at=T + 5 * SECOND)
    visits.insert([{"user_id": 1, "at": T + SECOND, "page": "first"}], at=T + 11 * SECOND)
    visits.delete([{"user_id": 1, "at": T + 2 * SECOND}], at=T + 20 * SECOND)
    labels = [{"user_id": 1, "time": T + s * SECOND} for s in (4, 5, 11, 19, 20)]
    assert project.training_set(labels).column("page").to_pylist() == [None, "second", "second", "second", "first"]


@pytest.mark.slow
def test_many_labels_and_writes_go_through_in_parts(project: Project) -> None:
    """More than one batch of each, with little memory; progress rises to the number of labels."""
    count = 2 * ROWS_AT_ONCE + 7
    users = project.features.relation("user")
    users.insert(
        [{"user_id": i % 50, "score": float(i)} for i in range(count)],
        at=[T + timedelta(milliseconds=10 * i) for i in range(count)],
    )
    told: list[tuple[str, int, int | None]] = []
    labels = [{"user_id": i % 50, "time": T + timedelta(milliseconds=10 * i)} for i in range(count)]
    table = project.training_set(labels, memory_mb=64, progress=lambda *said: told.append(said))
    assert table.column("score").to_pylist() == [float(i) for i in range(count)]
    assert [said for said in told if said[0] == "rows"][-1] == ("rows", count, count)
    assert {what for what, _, _ in told} == {"labels", "history of user", "rows"}
    assert [path.name for path in project.root.iterdir() if path.name.startswith(".set")] == []


LABELS: dict[str, tuple[str, str]] = {
    "a bad key": (
        "user_id,time\n1,2026-01-01T00:00:00Z\nx,2026-01-01T00:00:00Z\n",
        "labels.csv:3, column user_id: not a",
    ),
    "a key out of range": ("user_id,time\n99999999999999999999,2026-01-01T00:00:00Z\n", "labels.csv:2, column user_id"),
    "no key": ("user_id,time\n,2026-01-01T00:00:00Z\n", "column user_id: not a value of `user_id`; found nothing"),
    "no zone": ("user_id,time\n1,2026-01-01T00:00:00\n", "column time: not a moment; found '2026-01-01T00:00:00'"),
    "no time": ("user_id,time\n1,soon\n", "found 'soon'; expected a time with a zone, as in 2026-01-31T12:00:00Z"),
    "the future": ("user_id,time\n1,2027-01-01T00:00:00Z\n", "labels.csv:2, column time: a label of the future"),
    "before 1970": ("user_id,time\n1,1969-01-01T00:00:00Z\n", "labels.csv:2, column time: not a moment"),
    "no such column": ("user,time\n1,2026-01-01T00:00:00Z\n", "no column `user_id`; expected one of user, time"),
    "no column of times": ("user_id,at\n1,2026-01-01T00:00:00Z\n", "expected one of user_id, at; see --time"),
    "a column of the view": ("user_id,time,page\n1,2026-01-01T00:00:00Z,x\n", "column `page` is in view `buyer`, too"),
    "a ragged line": ("user_id,time\n1,2026-01-01T00:00:00Z\n2\n", "Expected 2 columns, got 1"),
    "nothing": ("", "cannot be read: Empty CSV file"),
}


@pytest.mark.parametrize(("text", "said"), LABELS.values(), ids=LABELS.keys())
def test_labels_that_cannot_be_used_are_refused(project: Project, text: str, said: str) -> None:
    """With file, line and column; and there is no file of half a set."""
    with pytest.raises(InvalidInput) as error:
        project.features.training_set("buyer", written(project, text), project.root / "set.parquet")
    assert said in str(error.value)
    assert "labels.csv" in str(error.value)
    assert sorted(path.name for path in project.root.iterdir()) == ["features", "labels.csv"]


def test_labels_of_parquet_are_named_by_row(project: Project) -> None:
    """A timestamp without a zone could be of any."""
    path = project.root / "labels.parquet"
    parquet.write_table(pa.table({"user_id": [1], "time": pa.array([datetime(2026, 1, 1)])}), path)  # noqa: DTZ001
    with pytest.raises(InvalidInput, match=r"labels.parquet, row 1, column time: not a moment"):
        project.features.training_set("buyer", path, project.root / "set.parquet")


def good(project: Project) -> Path:
    """Labels that can be used, by the end of the hour."""
    return written(project, "user_id,time\n1,2026-01-01T00:59:00Z\n")


FILES: dict[str, tuple[str, str, str]] = {
    "no labels": ("nowhere.csv", "set.parquet", "nowhere.csv: no such file of labels"),
    "labels of another kind": ("labels.json", "set.parquet", "not a file of labels"),
    "a set of another kind": ("labels.csv", "set.json", "not a kind of training set"),
}


@pytest.mark.parametrize(("labels", "output", "said"), FILES.values(), ids=FILES.keys())
def test_files_of_other_kinds_are_refused(project: Project, labels: str, output: str, said: str) -> None:
    """What can be read and written is said."""
    good(project)
    with pytest.raises(KanameError, match=said):
        project.features.training_set("buyer", project.root / labels, project.root / output)


def test_an_unknown_view_is_not_found(project: Project) -> None:
    """With those that there are."""
    with pytest.raises(NotFound, match="expected buyer"):
        project.features.training_set("byer", good(project), project.root / "set.parquet")


REFUSED: dict[str, tuple[str, str, str]] = {
    "no history": ("define relation user with history", "define relation user", "the writes of this relation are not"),
    "a short history": (
        "define relation user with history",
        "define relation user with history(1 minutes)",
        "the history of `user` is not kept for long enough; found 0.000694444 days, and labels from 2026-01-01T00:59",
    ),
}


@pytest.mark.parametrize(("there", "instead", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_histories_that_lack_something_are_refused(tmp_path: Path, there: str, instead: str, said: str) -> None:
    """A value that was there and is not in the history would come out as missing."""
    project = Project(tmp_path, SCHEMAS.replace(there, instead), VIEW)
    project.clock.advance(ms=3_600_000)
    with pytest.raises(InvalidInput) as error:
        project.features.training_set("buyer", good(project), project.root / "set.parquet")
    assert said in str(error.value)


def test_a_history_is_long_enough_for_the_ages_of_the_view(tmp_path: Path) -> None:
    """Older values than a view takes need not be kept."""
    schemas = SCHEMAS.replace("relation user with history", "relation user with history(10 minutes)")
    project = Project(tmp_path, schemas, VIEW.replace("- relation: user", "- relation: user\n    max_age_s: 60"))
    project.clock.advance(ms=3_600_000)
    project.features.relation("user").insert([{"user_id": 1, "score": 4.0}], at=T + 3500 * SECOND)
    output = project.root / "set.parquet"
    project.features.training_set("buyer", good(project), output)
    assert parquet.read_table(output).column("score").to_pylist() == [4.0]


def test_what_has_no_default_stops_with_the_line_of_the_label(tmp_path: Path) -> None:
    """As the view answers with an error."""
    project = Project(tmp_path, SCHEMAS, VIEW.replace("score: {default: 0.0}", "score:"))
    project.clock.advance(ms=3_600_000)
    with pytest.raises(InvalidInput, match=r"labels.csv:2, column time: `score` was not known, or too old"):
        project.features.training_set("buyer", good(project), project.root / "set.parquet")


def test_csv_holds_no_vectors(tmp_path: Path) -> None:
    """Parquet does."""
    project = Project(
        tmp_path, SCHEMAS.replace("score float64", "score vector<float32, 2>"), VIEW.replace("0.0", "null")
    )
    project.clock.advance(ms=3_600_000)
    with pytest.raises(InvalidInput, match="CSV has no place for column `score`"):
        project.features.training_set("buyer", good(project), project.root / "set.csv")
    project.features.training_set("buyer", good(project), project.root / "set.parquet")


def test_a_label_may_have_a_time_of_another_name(project: Project) -> None:
    """And nanoseconds, which are cut off."""
    path, output = project.root / "labels.parquet", project.root / "set.parquet"
    times: Any = pa.array([1_767_225_600_000_000_999], pa.timestamp("ns", "UTC"))
    parquet.write_table(pa.table({"user_id": [1], "when": times}), path)
    project.features.relation("user").insert([{"user_id": 1, "score": 4.0}], at=T)
    project.features.training_set("buyer", path, output, time="when")
    assert parquet.read_table(output).column("score").to_pylist() == [4.0]
