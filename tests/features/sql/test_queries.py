"""Any query of any rows in any layouts: what a loop over all rows in Python would find, in the order asked for."""

from __future__ import annotations

from functools import cmp_to_key

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaname.clock import SystemClock
from kaname.features.opened import Features
from kaname.features.schemas import schemas_in
from kaname.storage.cells.memory import MemoryCells
from tests.features.sql.generated import Query, Row, Shape, compared, queries, rows_of, shapes


def opened(shape: Shape) -> Features:
    """The relation `r` of a shape, in memory."""
    return Features(lambda: schemas_in(shape.text), lambda _: MemoryCells(SystemClock()), SystemClock())


def check(found: list[Row], rows: list[Row], query: Query) -> None:
    """Whether these are rows that are meant, in order, no more and no fewer; among equal ones any may come first."""
    meant = [row for row in rows if query.holds(row)]
    count = len(meant) if query.limit is None else min(query.limit, len(meant))
    assert len(found) == count
    left = list(meant)
    for row in found:
        left.remove(row)
    if query.order:

        def compare(one: Row, two: Row) -> int:
            return compared(one, two, query.order)

        first = sorted(meant, key=cmp_to_key(compare))[:count]
        assert [[row[name] for name, _ in query.order] for row in found] == [
            [row[name] for name, _ in query.order] for row in first
        ]


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_query_finds_what_a_loop_over_all_rows_finds(data: st.DataObject) -> None:
    """Whole rows and some columns; and what is deleted is gone, and nothing else."""
    shape = data.draw(shapes())
    rows = data.draw(rows_of(shape))
    features = opened(shape)
    features.relation("r").insert(rows)
    for _ in range(6):
        query = data.draw(queries(shape))
        check(features.query(f"SELECT * FROM r {query.tail} ALLOW FILTERING", query.parameters).all(), rows, query)
        names = data.draw(st.lists(st.sampled_from(list(shape.types)), min_size=1, unique=True))
        some = features.query(f"SELECT {', '.join(names)} FROM r {query.tail} ALLOW FILTERING", query.parameters).all()
        whole = features.query(f"SELECT * FROM r {query.tail} ALLOW FILTERING", query.parameters)
        if query.limit is None:
            assert sorted(map(repr, some)) == sorted(repr({name: row[name] for name in names}) for row in whole)
    where = f"WHERE {query.where}" if query.where else ""
    deleted = features.query(f"DELETE FROM r {where} ALLOW FILTERING", query.parameters).changed
    left = [row for row in rows if not query.holds(row)]
    assert deleted == len(rows) - len(left)
    for layout in features.relation("r").layouts:
        assert len(list(features.relation("r").scan(layout, layout.span({})))) == len(left)
    check(features.query("SELECT * FROM r ALLOW FILTERING").all(), left, Query("", lambda _: True, [], None, []))
