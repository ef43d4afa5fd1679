"""A statement that is asked again with other parameters is not understood anew, and answers as if it were."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaname.clock import SystemClock
from kaname.errors import InvalidInput
from kaname.features.opened import Features
from kaname.features.schemas import schemas_in
from kaname.features.sql.dialect import REMEMBERED
from kaname.features.sql.prepared import MOST_KEPT
from kaname.storage.cells.memory import MemoryCells
from tests.features.sql.conftest import DAY, TEXT, T
from tests.features.sql.generated import POOLS, queries, rows_of, shapes
from tests.features.sql.test_queries import opened


@st.composite
def others(draw: st.DrawFn, parameters: list[Any]) -> list[Any]:
    """Values of the same types."""
    pools = [next(pool for pool in POOLS.values() if type(pool[0]) is type(value)) for value in parameters]
    return [draw(st.sampled_from(pool)) for pool in pools]


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.data())
def test_other_parameters_find_what_a_new_statement_finds(data: st.DataObject) -> None:
    """Whatever layout was chosen before; and delete it."""
    shape = data.draw(shapes())
    features, rows = opened(shape), data.draw(rows_of(shape))
    relation = features.relation("r")
    relation.insert(rows)
    query = data.draw(queries(shape))
    where = f"WHERE {query.where}" if query.where else ""
    sql = f"SELECT * FROM r {where} ALLOW FILTERING"
    for parameters in [query.parameters, *(data.draw(others(query.parameters)) for _ in range(3))]:
        again = features.query(sql, parameters).all()
        kept = dict(relation.placement.statements)
        relation.placement.statements.clear()
        assert sorted(map(repr, again)) == sorted(map(repr, features.query(sql, parameters).all()))
        relation.placement.statements.update(kept)
    assert features.query(f"DELETE FROM r {where} ALLOW FILTERING", parameters).changed == len(again)


def test_a_statement_is_kept_with_its_relation(features: Features) -> None:
    """Once for all parameters, with its names, literals and layout; so many of them, and no long one."""
    kept = features.relation("order").placement.statements
    sql = "SELECT item FROM order WHERE user_id = ? AND at > ? LIMIT ?"
    for user, day, limit, expected in (("ann", 0, 9, 2), ("bo", 1, 9, 1), ("ann", -1, 1, 1), ("ann", -1, 0, 0)):
        assert len(features.query(sql, [user, T + day * DAY, limit]).all()) == expected
    assert list(kept) == [sql]
    insert = "INSERT INTO order (user_id, at, item) VALUES (?, :at, 'x'), ('z', ?, ?)".replace(":at", "?")
    for i in range(3):
        features.query(insert, [f"y{i}", T, T, f"item {i}"])
    assert features.query("SELECT item FROM order WHERE user_id = 'z'").all() == [{"item": "item 2"}]
    long = "SELECT item FROM order WHERE user_id = ? --" + "x" * REMEMBERED
    features.query(long, ["ann"])
    assert long not in kept
    for i in range(MOST_KEPT):
        features.query(f"SELECT item FROM order WHERE user_id = 'u{i}'")
    assert 0 < len(kept) <= MOST_KEPT


def test_values_choose_their_layout_each_time(features: Features) -> None:
    """A pattern that begins with a text is a range, and one that does not is a scan, in either order."""
    sql = "SELECT item FROM order WHERE user_id LIKE ?"
    for _ in range(2):
        assert len(features.query(sql, ["ann%"]).all()) == 3
        with pytest.raises(InvalidInput, match="a query that reads the whole table"):
            features.query(sql, ["%n%"])
    sql = "SELECT item FROM order WHERE user_id IN (?, ?) AND at = ?"
    assert [len(features.query(sql, ["ann", other, T]).all()) for other in ("bo", "ann", "nobody")] == [2, 1, 1]
    plans = [
        features.query("EXPLAIN SELECT * FROM order WHERE user_id = ? AND at < ?", ["ann", at]).all()[0]["access"]
        for at in (T, T + DAY)
    ]
    assert plans == ["ranges", "ranges"]


WRONG: dict[str, tuple[list[Any], str]] = {
    "another type": ([5, T], "query:1:40: not a value of `user_id`, which is string; found 5"),
    "null": ([None, T], "query:1:40: a comparison with null"),
    "no zone": (["ann", datetime(2026, 1, 1)], "query:1:49: .*a datetime with a time zone"),  # noqa: DTZ001
    "too few": (["ann"], "parameters: not as many values"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_parameter_that_does_not_fit_is_refused_the_second_time_too(features: Features, case: str) -> None:
    """With its place."""
    sql, (parameters, expected) = "SELECT item FROM order WHERE user_id = ? AND at=?", WRONG[case]
    for _ in range(2):
        assert features.query(sql, ["ann", T]).all() == [{"item": "ann 0"}]
        with pytest.raises(InvalidInput, match=expected):
            features.query(sql, parameters)


def test_what_was_kept_goes_with_the_schema() -> None:
    """A statement sees the attributes and layouts that are in force."""
    stamp, text = [1], [TEXT]
    features = Features(
        lambda: schemas_in(text[0]), lambda _: MemoryCells(SystemClock()), SystemClock(), stamp=lambda: stamp[0]
    )
    sql = "SELECT * FROM order WHERE user_id = ? AND at = ?"
    features.relation("order").insert([{"user_id": "ann", "at": T}])
    assert "more" not in features.query(sql, ["ann", T]).columns
    with pytest.raises(InvalidInput, match="no such attribute"):
        features.query("SELECT more FROM order LIMIT ?", [1])
    stamp[0], text[0] = 2, TEXT.replace("raw bytes,", "raw bytes, more int32,", 1)
    features.look()
    assert features.query(sql, ["ann", T]).all()[0]["more"] is None
    assert features.query("SELECT more FROM order LIMIT ?", [1]).all() == [{"more": None}]
    features.close()
