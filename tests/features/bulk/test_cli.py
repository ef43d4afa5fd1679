"""`kaname features list`, `insert` and `query`, as a person types them."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.cli.kaname import kaname

pytestmark = pytest.mark.slow

SCHEMA = """
define relation order { user_id string key, n int32 key, item string };
define schema by_user for order on cells("main") { table "t", row size{user_id}:n, family "f", value pack[] };
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a relation and no models."""
    (tmp_path / "features").mkdir()
    (tmp_path / "kaname.yaml").write_text("name: shop\n")
    (tmp_path / "features" / "order.schema").write_text(SCHEMA)
    return tmp_path


def test_rows_go_in_from_a_file_and_out_into_another(project: Path) -> None:
    """What a query finds is shown, printed or written; what fails says why."""
    lines = "".join(json.dumps({"user_id": f"u{i % 2}", "n": i, "item": f"[tea] {i}"}) + "\n" for i in range(300))
    (project / "rows.ndjson").write_text(lines)
    ran = kaname("-C", project, "features", "insert", "order", "--input", project / "rows.ndjson")
    assert (ran.code, ran.out) == (0, "300 rows written\n"), ran.err

    query = ("-C", project, "features", "query")
    ran = kaname(*query, "SELECT n, item FROM order WHERE user_id = ? AND n < ?", "-p", "u1", "-p", "4", "--json")
    assert [json.loads(line) for line in ran.out.splitlines()] == [{"n": n, "item": f"[tea] {n}"} for n in (1, 3)]
    shown = kaname(*query, "SELECT * FROM order WHERE user_id = 'u1'")
    assert "[tea] 199" in shown.out
    assert "more than these 100" in shown.err

    ran = kaname(*query, "SELECT * FROM order ALLOW FILTERING", "--output", project / "all.parquet")
    assert ran.out.startswith("300 rows in"), ran.err
    assert pq.read_table(project / "all.parquet").num_rows == 300
    assert kaname(*query, "DELETE FROM order WHERE user_id = 'u0'").out == "150 rows changed\n"

    refused = kaname(*query, "SELECT count(*) FROM order")
    assert refused.code == 2
    assert "no aggregates" in refused.err


def test_rows_say_when_they_became_known(project: Path) -> None:
    """All of a file, or each by a column; a time that is none is refused by the name of the option."""
    insert = ("-C", project, "features", "insert", "order", "--input", project / "rows.ndjson")
    (project / "rows.ndjson").write_text('{"user_id": "u", "n": 1, "item": "new", "t": "2026-02-01T00:00:00Z"}')
    assert kaname(*insert, "--at-column", "t").out == "1 row written\n"
    (project / "rows.csv").write_text("user_id,n,item\nu,1,old\n")
    assert kaname(*insert[:-1], project / "rows.csv", "--at", "2026-01-31T12:00Z").out == "1 row written\n"
    shown = kaname("-C", project, "features", "query", "SELECT item FROM order WHERE user_id = 'u'", "--json")
    assert shown.out == '{"item":"new"}\n'
    refused = kaname(*insert, "--at", "yesterday")
    assert (refused.code, "not a moment" in refused.err) == (2, True)


def test_relations_are_listed(project: Path) -> None:
    """With attributes and layouts."""
    plan = kaname("-C", project, "features", "query", "EXPLAIN SELECT * FROM order LIMIT 1")
    assert "access   full scan" in plan.out
    assert max(map(len, plan.out.splitlines())) <= 80
    shown = kaname("-C", project, "features", "list")
    assert "int32 key" in shown.out, shown.err
    assert kaname("-C", project, "features", "list", "--json").json()[0]["layouts"][0]["begins_with"] == [
        "user_id",
        "n",
    ]
