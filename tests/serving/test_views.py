"""Requests that name an entity: its features are read through the model's view, on the request path."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.processes import until
from tests.serving.world import Client, World

SCHEMAS = """
define relation plant { plant_id int64 key, length float64, width float32, tint string, grown decimal(9, 2) };
define schema plants for plant on cells("main") { table "plants", row plant_id, family "f", value pack[] };
define relation weather { place string key, at timestamp key, rain float64, seen date };
define schema by_place for weather on cells("main") {
  table "weather", row size{place}:desc{at}, family "f", value pack[]
};
define relation pairs { day date key, at timestamp key, left vector<int32, 2>, right vector<float32, 2> };
define schema by_day for pairs on cells("main") { table "pairs", row day:at, family "f", value pack[] };
"""
VIEWS = {
    "plant": """
name: plant
entity: [plant_id, place]
reads:
  - relation: plant
    features: {length: , width: {default: null}, colour: {attribute: tint, default: red}, grown: {default: 0}}
  - relation: weather
    latest: at
    features: {rain: {default: 0.0}}
derived:
  petals: length + rain * 2
""",
    "pairs": """
name: pairs
entity: [day]
reads: [{relation: pairs, latest: at, features: {a: {attribute: left}, right: }}]
""",
    "wrong": "name: wrong\nentity: [plant_id]\nreads: [{relation: plant, features: {area: {attribute: tint}}}]",
}
ROWS: list[dict[str, object]] = [
    {"plant_id": 1, "length": 1.5, "width": 0.5, "tint": "blue"},
    {"plant_id": 2, "length": 3.0, "width": None, "tint": None},
    {"plant_id": 3, "length": None, "width": 1.0, "tint": "green"},
]
AT = datetime(1970, 1, 1, tzinfo=UTC)
WHERE = {"place": "Oslo"}
ONE = {"plant_id": 1, **WHERE}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A running data plane whose `flowers` read the view `plant`, and `pair` the view `pairs`."""
    folder = tmp_path_factory.mktemp("viewed")
    (folder / "features").mkdir()
    (folder / "features" / "all.schema").write_text(SCHEMAS)
    for name, text in VIEWS.items():
        (folder / "features" / f"{name}.view.yaml").write_text(text)
    made = World(folder)
    features, models = made.stores.features, made.stores.models
    features.relation("plant").insert(ROWS)
    features.relation("weather").insert([{"place": "Oslo", "at": AT, "rain": 1.25}])
    features.relation("pairs").insert([{"day": AT.date(), "at": AT, "left": (1, 2), "right": (3.0, 4.0)}])
    models.override("flowers", {"view": "plant"}, who="test")
    models.override("pair", {"view": "pairs"}, who="test")
    models.override("house", {"view": "nothing"}, who="test")
    with made:
        yield made


def ask(world: World, body: object, *, model: str = "flowers", query: str = "", door: str = "own") -> tuple[int, Any]:
    """Status and document of an answer."""
    data = json.dumps(body).encode()
    with Client(world.addresses[door]) as client:
        client.send(
            f"POST /api/v1/models/{model}/predict{query} HTTP/1.1\r\nhost: 127.0.0.1\r\n"
            f"authorization: Bearer {world.key}\r\ncontent-length: {len(data)}\r\n\r\n".encode()
            + data
        )
        answer = client.answer()
    return answer.status, json.loads(answer.body)


def probabilities(world: World, row: dict[str, object]) -> object:
    """What the model says of a row that is given whole."""
    status, answer = ask(world, {"features": row})
    assert status == 200, answer
    return answer["probabilities"]


@pytest.mark.parametrize("door", ["own", "asgi"])
def test_an_entity_stands_for_its_features(world: World, door: str) -> None:
    """Read, derived, coded as the model needs them: the same answer as to the values themselves."""
    status, answer = ask(world, {"entity": ONE}, door=door)
    assert status == 200, answer
    expected = probabilities(world, {"length": 1.5, "width": 0.5, "petals": 4.0, "colour": "blue"})
    assert answer["probabilities"] == expected
    assert "features" not in answer


def test_defaults_stand_for_what_is_missing(world: World) -> None:
    """Null where the model has a place for it."""
    status, answer = ask(world, {"entity": {"plant_id": 2, "place": "Bergen"}})
    assert status == 200, answer
    expected = probabilities(world, {"length": 3.0, "width": None, "petals": 3.0, "colour": "red"})
    assert answer["probabilities"] == expected


def test_what_the_request_gives_stands_in_its_place(world: World) -> None:
    """Also in what is derived from it, and of a value that would be missing."""
    status, answer = ask(world, {"entity": {"plant_id": 9, **WHERE}, "features": {"length": 2, "rain": 3}})
    assert status == 200, answer
    expected = probabilities(world, {"length": 2, "width": None, "petals": 8, "colour": "red"})
    assert answer["probabilities"] == expected
    status, answer = ask(world, {"entity": ONE, "features": {"petals": 0, "colour": "red"}})
    expected = probabilities(world, {"length": 1.5, "width": 0.5, "petals": 0, "colour": "red"})
    assert answer["probabilities"] == expected


def test_several_entities_are_one_request(world: World) -> None:
    """With keys of their own and shared ones, and values for each."""
    body = {
        "entity": WHERE,
        "entities": [{"plant_id": 1}, {"plant_id": 2, "place": "Rome"}, {"plant_id": 3}],
        "instances": [{}, {"width": 7}, {"length": 1, "colour": "blue"}],
    }
    status, answer = ask(world, body)
    assert status == 200, answer
    rows = [
        {"length": 1.5, "width": 0.5, "petals": 4.0, "colour": "blue"},
        {"length": 3, "width": 7, "petals": 3.0, "colour": "red"},
        {"length": 1, "width": 1, "petals": 3.5, "colour": "blue"},
    ]
    assert [one["probabilities"] for one in answer["predictions"]] == [probabilities(world, row) for row in rows]
    status, answer = ask(world, {"entity": ONE, "instances": [{"length": n} for n in (1, 2)]})
    assert len(answer["predictions"]) == 2


@pytest.mark.parametrize(
    "body",
    [{"features": [1, 2, 3, "red"]}, {"instances": [{"length": 1, "width": 2, "petals": 3, "colour": "red"}] * 2}],
)
def test_a_request_without_an_entity_brings_its_features(world: World, body: object) -> None:
    """As for any other model."""
    assert ask(world, body)[0] == 200


def test_used_features_are_explained(world: World) -> None:
    """Each value with its age and where it came from; without being asked nothing is said."""
    world.clock.advance(ms=30_000)
    status, answer = ask(
        world, {"entity": {"plant_id": 2, **WHERE}, "features": {"width": 2}}, query="?explain=features"
    )
    assert status == 200, answer
    used = answer["features"]
    assert {name: (one["value"], one["origin"]) for name, one in used.items()} == {
        "length": (3.0, "store"),
        "width": (2, "request"),
        "colour": ("red", "default"),
        "petals": (5.5, "derived"),
    }
    assert used["length"]["age_s"] > 0
    assert used["colour"]["age_s"] is None
    status, answer = ask(world, {"entities": [ONE, ONE]}, query="?explain=features")
    assert [each["colour"]["value"] for each in answer["features"]] == ["blue", "blue"]


def test_tensors_are_filled_from_vectors(world: World) -> None:
    """A column per input; what the view has not is given. A date is text in JSON."""
    body = {"entity": {"day": "1970-01-01"}, "features": {"b": [10, 20]}}
    status, answer = ask(world, body, model="pair")
    assert status == 200, answer
    assert answer["prediction"] == [11, 22]
    status, answer = ask(world, {"entity": {"day": "soon"}, "features": {"b": [1, 2]}}, model="pair")
    assert (status, answer["where"]) == (400, "entity.day")


def test_the_record_keeps_the_features_that_were_used(world: World) -> None:
    """As if they had come with the request."""
    ask(world, {"entity": ONE})

    wanted = {"length": [1.5], "width": [0.5], "petals": [4.0], "colour": [1.0]}
    until(lambda: wanted in [one.inputs for one in world.stores.predictions.tail(last=50)], "the record")


BAD: dict[str, tuple[object, int, str, str]] = {
    "no such key": ({"entity": {"plant": 1, **WHERE}}, 400, "entity.plant", "not an entity key of this view"),
    "a key missing": ({"entity": {"plant_id": 1}}, 400, "entity.place", "an entity key is missing"),
    "a key of another type": ({"entity": {"plant_id": "1", **WHERE}}, 400, "entity.plant_id", "not a value"),
    "of several": ({"entities": [ONE, {"plant_id": 1}]}, 400, "entities[1].place", "an entity key is missing"),
    "nothing to read": ({"entity": {"plant_id": 9, **WHERE}}, 400, "features.length", "no row of `plant`"),
    "nothing to read of several": (
        {"entities": [ONE, {"plant_id": 3, **WHERE}]}, 400, "instances[1].length", "null in `plant`",
    ),
    "an unknown category": (
        {"entity": {"plant_id": 3, **WHERE}, "features": {"length": 1}}, 400, "features.colour", "unknown category",
    ),
    "an unknown feature": ({"entity": ONE, "features": {"size": 1}}, 400, "features", "unknown field `size`"),
    "a feature of another type": ({"entity": ONE, "features": {"rain": "much"}}, 400, "features.rain", "wrong type"),
    "null given": ({"entity": ONE, "features": {"petals": None}}, 400, "features.petals", "wrong type"),
    "no object": ({"entity": [1]}, 400, "entity", "wrong type"),
    "no entities": ({"entities": []}, 400, "entities", "number of rows"),
    "too many": ({"entities": [ONE] * 51}, 413, "entities", "number of rows"),
    "as many": ({"entities": [ONE], "instances": []}, 400, "instances", "as many instances as entities"),
    "both": ({"entities": [ONE], "features": {}}, 400, "body", "both given"),
    "unknown": ({"entity": ONE, "x": 1}, 400, "body", "unknown field `x`"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_requests_are_refused_with_the_place(world: World, case: str) -> None:
    """Nothing is predicted, and the next request is answered."""
    body, expected, where, message = BAD[case]
    status, answer = ask(world, body)
    assert (status, answer["where"]) == (expected, where), answer
    assert message in answer["detail"]
    assert ask(world, {"entity": ONE})[0] == 200


def test_a_model_without_a_view_takes_no_entity(world: World) -> None:
    """And explains nothing."""
    status, answer = ask(world, {"entity": ONE}, model="words")
    assert (status, answer["where"]) == (400, "body")
    status, answer = ask(world, {"features": {}}, model="words", query="?explain=features")
    assert (status, answer["expected"]) == (400, "a view")


def test_a_view_that_cannot_be_read_is_said(world: World) -> None:
    """By the model that names it, also when there is one that does not fit; without one requests are answered."""
    status, answer = ask(world, {"features": {"area": 1.0, "rooms": 1}}, model="house")
    assert status == 503
    assert "no such view" in answer["detail"]
    for view, expected in (("wrong", "does not fit house"), ("", None)):
        world.stores.models.override("house", {"view": view}, who="test")
        assert world.plane.settled(world.stores.models.seq(), 10) == []
        status, answer = ask(world, {"features": {"area": 1.0, "rooms": 1}}, model="house")
        assert status == (503 if expected else 200)
        assert expected is None or (expected in answer["detail"] and answer["found"] == "string")


def test_a_changed_file_is_followed_while_requests_come(world: World) -> None:
    """Another default, another key of the entity: from the next request on, without a restart."""
    path = world.stores.project.root / "features" / "plant.view.yaml"
    body = {"entity": {"plant_id": 2, "place": "Nowhere"}}

    def colour() -> object:
        status, answer = ask(world, body, query="?explain=features")
        return answer["features"]["colour"]["value"] if status == 200 else answer["where"]

    assert colour() == "red"
    path.write_text(VIEWS["plant"].replace("default: red", "default: blue"))
    until(lambda: colour() == "blue", "the view is read anew")
    path.write_text(
        VIEWS["plant"]
        .replace("[plant_id, place]", "[plant_id, town]")
        .replace("latest", "key: {place: town}\n    latest")
    )
    until(lambda: colour() == "entity.place", "the entity has another key")
    path.write_text("name: [")
    until(lambda: colour() == "entity.place", "what cannot be read changes nothing")
    path.write_text(VIEWS["plant"])
    until(lambda: colour() == "red", "the view is as it was")
