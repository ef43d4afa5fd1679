"""Histories and training sets on real servers: what these remember is what the embedded store does."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from kaname.clock import SystemClock
from kaname.storage.cells.lmdb.store import LmdbCells
from kaname.storage.cells.types import CellStore
from tests.cassandra_servers import SERVED, Cassandra
from tests.features.training.made import Project, T
from tests.features.training.test_equal import SCHEMAS, USERS, VIEW, Asked, Change, compare, happen, writes
from tests.hbase_servers import Hbase

pytestmark = SERVED
CHANGES = 60
ROWS = 3_000


@pytest.fixture(params=["cassandra", "hbase"])
def far(request: pytest.FixtureRequest) -> Iterator[CellStore]:
    """A store on each kind of server."""
    server: Cassandra | Hbase = request.getfixturevalue(request.param)
    with closing(server.open(10.0, keyspace="history")) as store:
        yield store


def both(folder: Path, far: CellStore) -> tuple[Project, Project]:
    """A project with nothing in it, embedded and there."""
    for table in far.tables():
        far.drop(table.name)
    near = LmdbCells(folder / "cells", SystemClock())
    return Project(folder / "near", SCHEMAS, VIEW, near), Project(folder / "far", SCHEMAS, VIEW, far)


@settings(max_examples=2, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.tuples(writes(), st.integers(1, 15_000_000)), min_size=CHANGES, max_size=CHANGES),
    st.lists(
        st.tuples(st.integers(0, CHANGES - 1), st.sampled_from(USERS), st.sampled_from(USERS)), min_size=20, max_size=20
    ),
)
def test_a_server_remembers_what_the_embedded_store_does(
    far: CellStore, changes: list[Change], asked: list[Asked]
) -> None:
    """Random inserts, updates and deletes with reads of a view between them, on both: the same answers, the same
    histories, and the same training sets, which have what the view said at each moment."""
    with tempfile.TemporaryDirectory() as folder:
        near, there = both(Path(folder), far)
        told = [happen(project, changes, asked) for project in (near, there)]
        assert repr(told[0]) == repr(told[1])  # NaN is what NaN is
        sets = [compare(project, *said) for project, said in zip((near, there), told, strict=True)]
        assert repr(sets[0].to_pylist()) == repr(sets[1].to_pylist())
        for name in ("user", "order"):
            kept = [list(project.features.relation(name).changes()) for project in (near, there)]
            assert len(kept[0]) == sum(relation == name for (_, relation, _), _ in changes)
            assert repr(kept[0]) == repr(kept[1])
        near.features.close()


def test_a_long_history_comes_in_the_order_of_its_moments(far: CellStore, tmp_path: Path) -> None:
    """Many writes, told in any order: all of them or those of a time, in Arrow, like the embedded store's; a row is as
    it became known last."""
    moments = [T - timedelta(seconds=(number * 7919) % ROWS) for number in range(ROWS)]
    rows = [{"user_id": f"u{number % 100}", "total": number} for number in range(ROWS)]
    found, last = list[pa.Table](), list[object]()
    near, there = both(tmp_path, far)
    for project in (near, there):
        users = project.features.relation("user")
        assert users.insert(rows, at=moments) == ROWS
        found.append(pa.Table.from_batches(users.history()))
        found.append(pa.Table.from_batches(users.history(T - timedelta(seconds=900), T - timedelta(seconds=100))))
        last.append(users.get_many([{"user_id": f"u{number}"} for number in range(100)], ["total"]))
    near.features.close()
    whole, some, far_whole, far_some = found
    assert whole.num_rows == ROWS
    assert some.num_rows == 800
    assert (whole.equals(far_whole), some.equals(far_some)) == (True, True)
    assert whole.column("history.at").to_pylist() == sorted(moments)
    assert last[0] == last[1]
