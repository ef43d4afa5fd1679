"""Views as they are declared: what they say, and what is refused, with its place."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from kaname.errors import InvalidInput, KanameError, ModelFailed, NotFound
from kaname.features.types import Type
from kaname.features.views.columns import column_of
from kaname.features.views.deriving import derive, needed, settled
from kaname.features.views.types import Columns, Read
from tests.features.views.declared import VIEW, declared, problems_of, project, views_of


def test_a_view_says_what_is_read_and_computed(tmp_path: Path) -> None:
    """Relations, keys, ages, defaults, columns and their types."""
    view = views_of(project(tmp_path))["buyer"]
    assert view.entity == {"user_id": Type("string")}
    user, order = view.reads
    assert (user.key, user.latest) == ({"user_id": "user_id"}, None)
    assert (order.key, order.latest) == ({"user_id": "user_id"}, "placed_at")
    assert [(f.name, f.attribute, f.default) for f in user.features] == [
        ("age", "age", 30),
        ("country", "country", None),
        ("points", "score", msgspec.UNSET),
    ]
    assert [f.max_age_us for f in view.features] == [None, None, None, 60_000_000, 3_600_000_000]
    assert [(d.name, str(d.type), d.inputs) for d in view.derived] == [
        ("per_year", "float64", ("price", "age")),
        ("home", "bool", ("country",)),
        ("grown", "bool", ("age",)),
    ]
    assert list(view.types) == ["age", "country", "points", "price", "last", "per_year", "home", "grown"]


def test_a_key_of_another_name_is_mapped(tmp_path: Path) -> None:
    """Two rows of one relation, found by different keys of the entity."""
    said = """
name: pair
entity: [buyer, seller]
reads:
  - {relation: user, key: {user_id: buyer}, features: {age: }}
  - {relation: user, key: {user_id: seller}, features: {seller_age: {attribute: age}}}
"""
    view = views_of(project(tmp_path, said))["pair"]
    assert [read.key for read in view.reads] == [{"user_id": "buyer"}, {"user_id": "seller"}]
    assert view.entity == {"buyer": Type("string"), "seller": Type("string")}


def test_an_unknown_view_is_named_with_those_that_there_are(tmp_path: Path) -> None:
    """So that a typing error is seen at once."""
    found = declared(project(tmp_path))
    assert found.view("buyer") is found.views["buyer"]
    with pytest.raises(NotFound, match="no such view; found buyr; expected buyer"):
        found.view("buyr")


def test_a_bad_file_is_told_to_who_uses_it_and_keeps_no_other_one_from_being_used(tmp_path: Path) -> None:
    """One that is no YAML, one with faults, and two with one name: each good one is there."""
    said = {
        "buyer": VIEW, "unread": "name: [", "wrong": VIEW.replace("buyer", "wrong").replace("age:", "aged:"),
        "one": VIEW.replace("buyer", "twice"), "two": VIEW.replace("buyer", "Twice"),
    }  # fmt: skip
    found = declared(project(tmp_path, said))
    assert list(found.views) == ["buyer"]
    for name, place in (("unread", "unread.view.yaml:1"), ("wrong", "wrong.view.yaml:6"), ("twice", "two.view.yaml:1")):
        with pytest.raises(KanameError) as caught:
            found.view(name)
        assert str(caught.value.where).startswith(f"features/{place}"), caught.value
    assert len(found.problems) == 3


def test_missing_null_and_old_values_become_the_default(tmp_path: Path) -> None:
    """At the maximum age a value still counts."""
    price = next(f for f in views_of(project(tmp_path))["buyer"].features if f.name == "price")
    assert settled(price, 2.5, 60_000_000) == (2.5, False)
    assert settled(price, 2.5, 60_000_001) == (0.0, True)
    assert settled(price, None, 0) == (0.0, True)
    assert settled(price, None, None) == (0.0, True)


def test_only_what_is_needed_is_read_and_computed(tmp_path: Path) -> None:
    """A model that uses two columns costs no others."""
    view = views_of(project(tmp_path))["buyer"]
    features, derived = needed(view, ["per_year"])
    assert ([f.name for f in features], [d.name for d in derived]) == (["age", "price"], ["per_year"])
    features, derived = needed(view, ["country", "unknown"])
    assert ([f.name for f in features], [d.name for d in derived]) == (["country"], [])


def columns(**values: list[object]) -> Columns:
    """Columns of the views below."""
    types = {"age": "int32", "country": "string", "price": "float64"}
    return {name: column_of(each, Type(types[name])) for name, each in values.items()}


def test_the_project_s_code_computes_columns(tmp_path: Path) -> None:
    """One after the other, each from those before it."""
    said = VIEW + "  both: home and grown\n"
    view = views_of(project(tmp_path, said))["buyer"]
    given = columns(age=[17, 40], country=["JP", None], price=[1.8, None])
    found = derive(view.derived, given)
    assert {name: column.tolist() for name, column in found.items() if name != "per_year"} == {
        "home": [True, False],
        "grown": [False, True],
        "both": [False, False],
    }
    assert found["per_year"][0] == pytest.approx(0.1)
    assert found["per_year"][1] != found["per_year"][1]


FAULTY = {
    "short": (r"one value per row; found \(1,\); expected \(2,\)", "float64"),
    "wordy": ("another type; found <U4; expected number", "float64"),
    "broken": ("ZeroDivisionError|RuntimeWarning|division", "float64"),
}


@pytest.mark.parametrize("name", FAULTY)
def test_code_that_fails_is_named(tmp_path: Path, name: str) -> None:
    """With the column, and what it did."""
    message, of = FAULTY[name]
    said = VIEW + f"  bad: {{function: 'code/columns.py:{name}', type: {of}}}\n"
    view = views_of(project(tmp_path, said))["buyer"]
    with pytest.raises(ModelFailed, match=message) as raised:
        derive(view.derived[-1:], columns(age=[1, 2]))
    assert raised.value.where == "bad"


TWO_TYPES = """\
name: a
entity: [user_id]
reads:
- {relation: user, features: {age: }}
- {relation: device, key: {device_id: user_id}, features: {os: }}
"""
BAD = {
    "not YAML": ("name: [", r"buyer.view.yaml:\d+:\d+: not YAML"),
    "an unknown key": (VIEW + "cache: 1\n", ":19:1: unknown key `cache`"),
    "no relation": (
        VIEW.replace("relation: user", "relation: usr"),
        ":4:15: no such relation; found `usr`; expected `user`",
    ),
    "no attribute": (
        VIEW.replace("age: {default: 30}", "ag: {default: 30}"),
        ":6:7: no such attribute of `user`; found `ag`",
    ),
    "no attribute under another name": (
        VIEW.replace("attribute: score", "attribute: scor"),
        ":8:27: no such attribute",
    ),
    "a default of another type": (
        VIEW.replace("default: 30", "default: thirty"),
        ":6:22: not a value of type int32; found 'thirty'",
    ),
    "a default too large": (VIEW.replace("default: 30", "default: 3000000000"), ":6:22: not a value of type int32"),
    "no entity": (VIEW.replace("[user_id]", "[]"), ":2:9: a view of no entity"),
    "an entity key of no use": (
        VIEW.replace("[user_id]", "[user_id, city]"),
        ":2:19: an entity key that finds nothing",
    ),
    "an entity key of another name": (VIEW.replace("[user_id]", "[user]"), ":4:15: nothing says which `user_id`"),
    "a key mapped to nothing": (
        VIEW.replace("relation: user\n", "relation: user\n    key: {user_id: usr}\n"),
        ":5:20: no such entity key; found `usr`; expected `user_id`",
    ),
    "a key that is none": (
        VIEW.replace("relation: user\n", "relation: user\n    key: {age: user_id}\n"),
        ":5:11: no such key attribute of `user`; found `age`",
    ),
    "latest of no time": (VIEW.replace("latest: placed_at", "latest: user_id"), ":10:13: no such timestamp in the key"),
    "latest missing": (VIEW.replace("    latest: placed_at\n", ""), ":9:15: nothing says which `placed_at`"),
    "latest of a whole key": (
        "name: a\nentity: [code]\nreads:\n  - {relation: airport, latest: hour, features: {delay: }}",
        ":4:16: no schema keeps the rows of one entity in the order of time",
    ),
    "a key read": (VIEW.replace("points: {attribute: score}", "user_id: "), ":8:7: a second column of that name"),
    "a key read under another name": (VIEW.replace("score", "user_id"), "what is known from the entity is not read"),
    "a name taken": (VIEW.replace("last: {", "age: {"), ":14:7: a second column of that name: there is the feature at"),
    "now": (VIEW.replace("last: {", "now: {"), ":14:7: a second column of that name: there is the moment"),
    "no name of a column": (VIEW.replace("last: {", "'': {"), ":14:7: not a name"),
    "an age of nothing": (VIEW.replace("max_age_s: 60}", "max_age_s: 0}"), ":13:40: `reads"),
    "nothing read": ("name: a\nentity: [user_id]\nreads: []", ":3:8: a view that reads nothing"),
    "no features": ("name: a\nentity: [user_id]\nreads: [{relation: user, features: {}}]", ":3:36: nothing is read"),
    "no place for rows": (
        "name: a\nentity: [user_id]\nreads: [{relation: unplaced, features: {x: }}]",
        ":3:20: a relation without a schema has no rows",
    ),
    "two types of a key": (
        TWO_TYPES,
        ":5:14: entity key `user_id` is a string in another relation; found `device_id int64`",
    ),
    "not an expression": (VIEW.replace("price / (age + 1)", "price / ("), ":16:13: not an expression"),
    "an unknown column": (VIEW.replace("price / (age + 1)", "prize / 2"), ":16:13: no such column before this one"),
    "a later column": (VIEW.replace("price / (age + 1)", "home * 2"), "no such column before this one; found `home`"),
    "no number": (VIEW.replace("price / (age + 1)", "price / country"), "a text is not a number here"),
    "no such file": (VIEW.replace("columns.py", "other.py"), ":18:10: there is no such file; found `code/other.py`"),
    "outside": (VIEW.replace("code/columns.py", "../x.py"), "there is no such file"),
    "no such function": (VIEW.replace(":grown", ":grow"), "no such function in code/columns.py; found `grow`"),
    "no function named": (VIEW.replace(":grown", ""), "not the name of a function"),
    "a parameter of no column": (VIEW.replace(":grown", ":ratio"), "a parameter of ratio is no column before this"),
    "a function of no column": (VIEW.replace(":grown", ":no_columns"), "a function of no column"),
    "a function of any columns": (VIEW.replace(":grown", ":many"), "a function whose parameters name no columns"),
    "no type": (VIEW.replace("type: bool", "type: int"), "bool or float64 or string or timestamp"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_views_are_refused_with_the_place(tmp_path: Path, case: str) -> None:
    """File, line and column, what was found and what was expected."""
    said, message = BAD[case]
    problems = problems_of(project(tmp_path, said))
    assert problems
    assert all(isinstance(problem, InvalidInput) for problem in problems)
    assert all(str(problem.where).startswith("features/buyer.view.yaml:") for problem in problems)
    with pytest.raises(InvalidInput, match=message.replace("(", "\\(") if "\\" not in message else message):
        raise problems[0]


def test_all_faults_of_all_files_are_listed(tmp_path: Path) -> None:
    """Also two views of one name; the good one of three is examined beside them."""
    bad = VIEW.replace("relation: user", "relation: usr").replace("latest: placed_at", "latest: place_at")
    root = project(tmp_path, {"a": VIEW, "b": VIEW, "c": bad.replace("name: buyer", "name: c")})
    problems = problems_of(root)
    assert [str(problem.where) for problem in problems] == [
        "features/b.view.yaml:1:7",
        "features/c.view.yaml:4:15",
        "features/c.view.yaml:10:13",
    ]


def test_the_newest_row_is_the_end_of_a_range(tmp_path: Path) -> None:
    """A read of the newest row names the attributes that find it."""
    read = views_of(project(tmp_path))["buyer"].reads[1]
    assert read == Read(relation="order", key={"user_id": "user_id"}, latest="placed_at", features=read.features)
