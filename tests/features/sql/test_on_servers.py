"""SQL on rows that real servers keep: what a loop over all rows in Python would find and leave."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kaname.clock import SystemClock
from kaname.features.opened import Features
from kaname.features.schemas import schemas_in
from kaname.storage.cells.types import CellStore
from tests.cassandra_servers import SERVED, Cassandra
from tests.features.sql.generated import Query, Row, Shape, queries, rows_of
from tests.features.sql.test_queries import check
from tests.hbase_servers import Hbase

pytestmark = SERVED
KEY = {"k0": "string", "k1": "int32"}
REST = {"a0": "float64", "a1": "string", "a2": "decimal(5, 2)"}
SHAPE = Shape(
    KEY,
    REST,
    """
define relation r { k0 string key, k1 int32 key, a0 float64, a1 string, a2 decimal(5, 2) };
define schema s0 for r on cells("far") { table "queried_0", row size{k0}:k1, family "f", value pack[] };
define schema s1 for r on cells("far") {
  table "queried_1", row hash(1)[k0]:suffix("\\0"){k0}:desc{k1},
  family "f", qualifier attr_name[a0, a1], value attr_value[a0, a1], family "g", value pack[a2]
};
define schema s2 for r on cells("far") {
  table "queried_2", row desc{k1}:k0, family "f", qualifier attr_name[a1, a2], value attr_value[a1, a2]
};
""",
)
EVERY = Query("", lambda _: True, [], None, [])


@pytest.fixture(scope="module", params=["cassandra", "hbase"])
def features(request: pytest.FixtureRequest) -> Iterator[Features]:
    """The relation above on a server of each kind."""
    server: Cassandra | Hbase = request.getfixturevalue(request.param)
    store: CellStore = server.open(timeout_s=20.0)
    opened = Features(lambda: schemas_in(SHAPE.text), lambda _: store, SystemClock())
    yield opened
    opened.close()


def insert(features: Features, rows: list[Row]) -> None:
    """All rows in one statement."""
    if rows:
        marks = ", ".join(f"({', '.join('?' * len(SHAPE.types))})" for _ in rows)
        values = [row[name] for row in rows for name in SHAPE.types]
        sql = f"INSERT INTO r ({', '.join(SHAPE.types)}) VALUES {marks}"
        assert features.query(sql, values).changed == len(rows)


def find(features: Features, query: Query, names: str = "*") -> list[Row]:
    """The rows of a query."""
    return features.query(f"SELECT {names} FROM r {query.tail} ALLOW FILTERING", query.parameters).all()


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_statements_do_on_a_server_what_a_loop_over_all_rows_does(features: Features, data: st.DataObject) -> None:
    """INSERT, also over rows; SELECT of whole rows and of one attribute; DELETE; all layouts have what is left."""
    first, second = data.draw(rows_of(SHAPE)), data.draw(rows_of(SHAPE))
    features.query("DELETE FROM r ALLOW FILTERING")  # an example may have ended early
    assert find(features, EVERY) == []
    insert(features, first)
    insert(features, second)
    rows = list({(row["k0"], row["k1"]): row for row in [*first, *second]}.values())
    for _ in range(4):
        query = data.draw(queries(SHAPE))
        check(find(features, query), rows, query)
        [name] = data.draw(st.lists(st.sampled_from(list(SHAPE.types)), min_size=1, max_size=1))
        some = find(features, Query(query.where, query.holds, [], None, query.parameters), name)
        assert sorted(repr(row[name]) for row in some) == sorted(repr(row[name]) for row in rows if query.holds(row))
    left = [row for row in rows if not query.holds(row)]
    where = f"WHERE {query.where}" if query.where else ""
    deleted = features.query(f"DELETE FROM r {where} ALLOW FILTERING", query.parameters).changed
    assert deleted == len(rows) - len(left)
    for layout in features.relation("r").layouts:
        assert len(list(features.relation("r").scan(layout, layout.span({})))) == len(left)
    check(find(features, EVERY), left, EVERY)
