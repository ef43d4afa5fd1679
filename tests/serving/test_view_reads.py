"""`POST /api/v1/views/{view}/read`: features of entities, without a model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.processes import until
from tests.serving.test_views import AT, ONE, ROWS, SCHEMAS, VIEWS, WHERE
from tests.serving.world import Client, World


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A running data plane, none of whose models has a view."""
    folder = tmp_path_factory.mktemp("views")
    (folder / "features").mkdir()
    (folder / "features" / "all.schema").write_text(SCHEMAS)
    for name, text in VIEWS.items():
        (folder / "features" / f"{name}.view.yaml").write_text(text)
    made = World(folder)
    features = made.stores.features
    features.relation("plant").insert(ROWS)
    features.relation("weather").insert([{"place": "Oslo", "at": AT, "rain": 1.25}])
    features.relation("pairs").insert([{"day": AT.date(), "at": AT, "left": (1, 2), "right": (3.0, 4.0)}])
    with made:
        yield made


def read(world: World, view: str, body: object, *, query: str = "", key: str | None = None) -> tuple[int, Any]:
    """Status and document of an answer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"POST /api/v1/views/{view}/read{query} HTTP/1.1\r\nhost: 127.0.0.1\r\n"
    head += f"authorization: Bearer {key or world.key}\r\ncontent-length: {len(data)}\r\n\r\n"
    with Client(world.addresses["own"]) as client:
        client.send(head.encode() + data)
        answer = client.answer()
        return answer.status, json.loads(answer.body)


def test_one_entity_and_several_are_read(world: World) -> None:
    """Values as JSON has them, a default and a derived column; the first request opens the view."""
    expected = {"length": 1.5, "width": 0.5, "colour": "blue", "grown": 0, "rain": 1.25, "petals": 4.0}
    assert read(world, "plant", {"entity": ONE}) == (200, {"view": "plant", "features": expected})
    status, answer = read(world, "plant", {"entities": [ONE, {"plant_id": 2, "place": "Rome"}]})
    assert (status, answer["instances"][0]) == (200, expected)
    assert answer["instances"][1]["colour"] == "red"
    status, answer = read(world, "pairs", {"entity": {"day": "1970-01-01"}})
    assert answer["features"] == {"a": [1, 2], "right": [3.0, 4.0]}


def test_it_can_say_where_values_came_from(world: World) -> None:
    """Origins and ages of each, of one and of several entities."""
    status, answer = read(world, "plant", {"entity": ONE}, query="?explain=features")
    assert status == 200
    found = {name: (used["value"], used["origin"]) for name, used in answer["features"].items()}
    assert found["rain"] == (1.25, "store")
    assert found["grown"] == (0, "default")
    assert found["petals"] == (4.0, "derived")
    assert answer["features"]["rain"]["age_s"] > 1e9
    many = read(world, "plant", {"entities": [ONE, ONE]}, query="?explain=features")[1]["instances"]
    assert [each["petals"]["value"] for each in many] == [4.0, 4.0]


REFUSED: dict[str, tuple[str, object, int, str]] = {
    "no such view": ("flower", {"entity": ONE}, 404, ""),
    "not JSON": ("plant", b"{", 400, "body"),
    "neither": ("plant", {}, 400, "body"),
    "both": ("plant", {"entity": ONE, "entities": [ONE]}, 400, "body"),
    "no entity": ("plant", {"entities": []}, 400, "entities"),
    "unknown word": ("plant", {"entity": ONE, "more": 1}, 400, ""),
    "a key is missing": ("plant", {"entity": {"plant_id": 1}}, 400, "entity.place"),
    "a key too many": ("plant", {"entity": {**ONE, "x": 1}}, 400, "entity.x"),
    "a key of the wrong type": ("plant", {"entity": {"plant_id": "1", **WHERE}}, 400, "entity.plant_id"),
    "no such day": ("pairs", {"entity": {"day": "1970-13-01"}}, 400, "entity.day"),
    "no row": ("plant", {"entity": {"plant_id": 9, **WHERE}}, 400, "features.length"),
    "no row for one of them": (
        "plant",
        {"entities": [ONE, {"plant_id": 9, **WHERE}]},
        400,
        "entities[1].features.length",
    ),
    "a wrong key of one of them": ("plant", {"entities": [ONE, {"plant_id": 1}]}, 400, "entities[1].place"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_refused_with_its_place(world: World, case: str) -> None:
    """A problem document each, and the next good request is answered."""
    view, body, expected, where = REFUSED[case]
    status, answer = read(world, view, body)
    assert (status, answer["status"]) == (expected, expected)
    assert where in answer.get("where", ""), answer
    assert read(world, "plant", {"entity": ONE})[0] == 200


def test_keys_read_only_what_they_may(world: World) -> None:
    """No key and a key for predictions are refused, before a view is opened and after it."""
    _, key = world.stores.keys.create("p", ("predict:*",), who="test")
    until(lambda: read(world, "plant", {"entity": ONE}, key=key)[0] == 403, "the key is known")
    assert read(world, "wrong", {"entity": ONE}, key="none")[0] == 401
    status, answer = read(world, "plant", {"entity": ONE}, key=key)
    assert (status, answer["expected"]) == (403, "read:plant")


def look(world: World, path: str, key: str | None = None) -> tuple[int, Any]:
    """Status and document of what is asked with GET."""
    head = f"GET /api/v1/views{path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key or world.key}\r\n\r\n"
    with Client(world.addresses["own"]) as client:
        client.send(head.encode())
        answer = client.answer()
        return answer.status, json.loads(answer.body)


def test_views_are_listed_and_shown(world: World) -> None:
    """What each reads and computes, with types, ages and defaults, whether it has been opened or not."""
    status, answer = look(world, "")
    assert (status, [view["name"] for view in answer["items"]]) == (200, ["pairs", "plant", "wrong"])
    status, shown = look(world, "/plant")
    assert (status, shown) == (200, answer["items"][1])
    assert shown["entity"] == [{"name": "plant_id", "type": "int64"}, {"name": "place", "type": "string"}]
    plant, weather = shown["reads"]
    assert plant["features"][0] == {
        "name": "length", "type": "float64", "attribute": "length", "max_age_s": None, "required": True,
        "default": None,
    }  # fmt: skip
    defaults = [(one["name"], one["attribute"], one["required"], one["default"]) for one in plant["features"][1:]]
    assert defaults[:2] == [("width", "width", False, None), ("colour", "tint", False, "red")]
    assert (weather["relation"], weather["key"], weather["latest"]) == ("weather", {"place": "place"}, "at")
    assert shown["derived"] == [
        {"name": "petals", "type": "float64", "computed_by": "length + rain * 2", "inputs": ["length", "rain"]}
    ]
    assert look(world, "/nothing")[0] == 404
    assert look(world, "?limit=1")[1]["next"] == "pairs"


def test_a_key_sees_the_views_that_it_may_read(world: World) -> None:
    """Those of whose relations it may read every one."""
    _, key = world.stores.keys.create("v", ("read:plant",), who="test")
    until(lambda: look(world, "", key)[0] == 200, "the key is known")
    assert [view["name"] for view in look(world, "", key)[1]["items"]] == ["wrong"]
    status, answer = look(world, "/plant", key)
    assert (status, answer["expected"]) == (403, "read:weather")
    assert look(world, "", "none")[0] == 401


def test_a_bad_file_is_no_fault_of_who_asks_and_is_used_when_it_is_good(world: World) -> None:
    """The view cannot be read for a while; all others can."""
    path = world.stores.project.root / "features" / "bad.view.yaml"
    path.write_text(VIEWS["wrong"].replace("tint", "taint").replace("wrong", "bad"))
    for status, answer in (read(world, "bad", {"entity": {"plant_id": 1}}), look(world, "/bad")):
        assert (status, "features/bad.view.yaml:3" in answer["detail"]) == (503, True), answer
    assert read(world, "plant", {"entity": ONE})[0] == 200
    path.write_text(VIEWS["wrong"].replace("wrong", "bad"))
    assert read(world, "bad", {"entity": {"plant_id": 1}})[1]["features"] == {"area": "blue"}
    path.unlink()


def test_reads_are_counted(world: World) -> None:
    """By view and outcome, with their time."""
    before = world.plane.node.metrics.counter(
        "kaname_view_reads_total", "Reads of a view, by outcome.", view="plant", code="ok"
    )
    count = before.value
    read(world, "plant", {"entity": ONE})
    assert before.value == count + 1
