"""Online and offline are one: a training set has, bit for bit, what the view said at the moment of each label."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, date, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.features.training.made import Project, T

SCHEMAS = """
define relation user with history {
  user_id string key, age int32, score float64, small float32, born date, balance decimal(9, 2), plan json,
  taste vector<float32, 2>, good bool, seen timestamp planned, raw bytes, total int64
};
define schema users for user on cells("main") {
  table "users", row user_id, family "f", qualifier attr_name[], value attr_value[]
};
define relation order with history { user_id string key, placed_at timestamp key planned, item string, price float64 };
define schema by_user for order on cells("main") {
  table "orders", row size{user_id}:desc{placed_at}, family "f", qualifier attr_name[], value attr_value[]
};
"""
VIEW = """
name: buyer
entity: [user_id, friend]
reads:
  - relation: user
    max_age_s: 40
    features:
      age: {default: 30, max_age_s: 20}
      score: {default: null}
      small: {default: 0.5}
      born: {default: 2000-01-01}
      balance: {default: 1.50}
      plan: {default: null}
      taste: {default: [0, 1]}
      good: {default: false}
      seen: {default: null}
      raw: {default: null}
      total: {default: -1}
  - relation: user
    key: {user_id: friend}
    features:
      friend_score: {attribute: score, default: 0.25}
  - relation: order
    latest: placed_at
    features:
      price: {default: 0.0, max_age_s: 30}
      item: {default: none}
      last: {attribute: placed_at, default: null}
derived:
  ago_s: now - last
  ratio: log(price) / age
  rich: balance > 10 and good
  same: user_id == friend
  kind: "'new' if is_null(last) else item"
  alike: dot(taste, taste) + friend_score
"""
USERS = ("u1", "u2", "ü3")
_NUMBERS = st.floats(width=32) | st.sampled_from([0.0, -0.0, 1e300, -5e-324])
_USER: dict[str, st.SearchStrategy[object]] = {
    "age": st.integers(-5, 5),
    "score": _NUMBERS,
    "small": st.floats(width=32) | st.sampled_from([0.0, -0.0]),
    "born": st.dates(date(1, 1, 1), date(9999, 12, 31)),
    "balance": st.decimals(-100, 100, places=2),
    "plan": st.sampled_from([{"a": [1, None]}, "x", 1.5]),
    "taste": st.tuples(st.floats(width=32), st.floats(width=32)),
    "good": st.booleans(),
    "seen": st.datetimes(timezones=st.just(UTC)),
    "raw": st.binary(max_size=3),
    "total": st.integers(-(2**63), 2**63 - 1),
}
_ORDER: dict[str, st.SearchStrategy[object]] = {"item": st.sampled_from(["tea", ""]), "price": _NUMBERS}


def _some(values: dict[str, st.SearchStrategy[object]]) -> st.SearchStrategy[dict[str, object]]:
    return st.fixed_dictionaries({}, optional={name: st.none() | each for name, each in values.items()}).map(dict)


_KEYS = st.fixed_dictionaries({"user_id": st.sampled_from(USERS)})
_TIMES = st.integers(0, 90).map(lambda s: T + timedelta(seconds=s))
_ORDERS = st.fixed_dictionaries({"user_id": st.sampled_from(USERS), "placed_at": _TIMES})
_WRITES = st.tuples(st.sampled_from(["insert", "insert", "update", "delete"]), st.booleans())


@st.composite
def writes(draw: st.DrawFn) -> tuple[str, str, dict[str, object]]:
    """How to write, of which relation, what."""
    how, is_user = draw(_WRITES)
    row: dict[str, object] = {**draw(_KEYS if is_user else _ORDERS)}
    values: dict[str, object] = {} if how == "delete" else draw(_some(_USER if is_user else _ORDER))
    row.update(values)
    return how, "user" if is_user else "order", row


def bits(value: object) -> object:
    """A value that equals another one only if they are the same bit for bit."""
    if isinstance(value, float):
        return struct.pack(">d", value)
    return tuple(map(bits, value)) if isinstance(value, list | tuple) else value


Change: TypeAlias = tuple[tuple[str, str, dict[str, object]], int]
"""How to write, of which relation, what; and the microseconds until the next one."""
Asked: TypeAlias = tuple[int, str, str]
"""Behind how many changes the view is read, and for whom."""


@pytest.mark.slow
@settings(max_examples=30, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    st.lists(st.tuples(writes(), st.integers(1, 15_000_000)), max_size=25),
    st.lists(st.tuples(st.integers(0, 24), st.sampled_from(USERS), st.sampled_from(USERS)), min_size=1, max_size=12),
)
def test_a_training_set_has_what_the_view_said_then(changes: list[Change], asked: list[Asked]) -> None:
    """Random inserts, updates and deletes; between them the view is read at the present moment, and the answers are
    compared with a training set that is made when all is over: nothing from later may be in it."""
    with tempfile.TemporaryDirectory() as folder:
        project = Project(Path(folder), SCHEMAS, VIEW)
        labels, online = happen(project, changes, asked)
        if labels:
            compare(project, labels, online)


@pytest.mark.parametrize("attribute", ["score", "small"])
@pytest.mark.parametrize("values", [[-0.0], [0.0, -0.0], [-0.0, 1.5, 0.0]])
def test_the_sign_of_zero_is_kept(tmp_path: Path, attribute: str, values: list[float]) -> None:
    """Online and offline, in both widths."""
    project = Project(tmp_path, SCHEMAS, VIEW)
    changes: list[Change] = [(("insert", "user", {"user_id": "u1", attribute: value}), 1000) for value in values]
    asked: list[Asked] = [(number + 1, "u1", "u2") for number in range(len(values))]
    labels, online = happen(project, [*changes, (("delete", "user", {"user_id": "u2"}), 1000)], asked)
    assert [bits(said[attribute]) for said in online] == [bits(value) for value in values]
    compare(project, labels, online)


def happen(
    project: Project, changes: Sequence[Change], asked: Sequence[Asked]
) -> tuple[list[dict[str, object]], list[dict[str, Any]]]:
    """Write and read; returns labels of when and for whom the view was read, and what it said."""
    view, labels, online = project.features.view("buyer"), list[dict[str, object]](), list[dict[str, Any]]()
    for number in range(max(len(changes), 1)):
        project.clock.advance(ms=1)
        for at, user, friend in asked:
            if at == number:
                labels.append({"user_id": user, "friend": friend, "time": project.now})
                online.append(view.read({"user_id": user, "friend": friend}))
        project.clock.advance(ms=1)
        if number < len(changes):
            (how, relation, row), pause_us = changes[number]
            getattr(project.features.relation(relation), how)([row])
            project.clock.advance(ms=pause_us / 1000)
    return labels, online


def compare(project: Project, labels: Sequence[Mapping[str, object]], online: Sequence[Mapping[str, Any]]) -> pa.Table:
    """A training set of the labels, which has what was said."""
    table = project.training_set(labels)
    assert table.num_rows == len(labels)
    for row, label, said in zip(table.to_pylist(), labels, online, strict=True):
        assert {name: row[name] for name in label} == label
        said = {**said, "plan": None if said["plan"] is None else _json(said["plan"])}
        assert {name: bits(row[name]) for name in said} == {name: bits(value) for name, value in said.items()}
    return table


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
