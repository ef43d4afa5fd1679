"""The configured answer under overload, through every protocol of HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.serving.world import Client, Response, World

JSON = {"instances": [[1, 2, 3, "red"], [3, 2, 1, "blue"]]}
TENSOR = {"inputs": [{"name": "x", "shape": [2, 4], "datatype": "FP32", "data": [1, 2, 3, 0, 3, 2, 1, 1]}]}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world whose model is full and has something to say then."""
    with World(tmp_path_factory.mktemp("value")) as made:
        fields = {"limits.concurrency": 1, "overload": "value", "overload_value": [2, [0.1, 0.2, 0.7]]}
        made.stores.models.override("flowers", fields, who="test")
        assert made.plane.settled(made.stores.models.seq(), 10) == []
        made.on_loop(lambda: _fill(made))
        yield made


def _fill(world: World) -> None:
    node = world.plane.node
    node.admission_of(node.version("flowers", None))._going = 10**9


def _ask(world: World, door: str, path: str, body: object) -> Response:
    data = json.dumps(body).encode()
    with Client(world.addresses[door]) as client:
        client.send(
            f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {world.key}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n".encode()
            + data
        )
        return client.answer()


@pytest.mark.parametrize("door", ["own", "asgi"])
def test_the_value_is_answered_and_marked(world: World, door: str) -> None:
    """For every row asked, in the form of a usual answer."""
    answer = _ask(world, door, "/api/v1/models/flowers/predict", JSON)
    assert (answer.status, answer.headers[b"x-answer"]) == (200, b"overload-value")
    assert [one["prediction"] for one in json.loads(answer.body)["predictions"]] == ["c", "c"]


def test_the_value_speaks_every_protocol(world: World) -> None:
    """The Open Inference Protocol has it as tensors, TensorFlow Serving as predictions."""
    answer = _ask(world, "own", "/v2/models/flowers/infer", TENSOR)
    assert (answer.status, answer.headers[b"x-answer"]) == (200, b"overload-value")
    label = next(one for one in json.loads(answer.body)["outputs"] if one["name"] == "label")
    assert label["data"] == [2, 2]
    answer = _ask(world, "own", "/v1/models/flowers:predict", JSON)
    assert (answer.status, answer.headers[b"x-answer"]) == (200, b"overload-value")


def test_bad_input_is_still_bad(world: World) -> None:
    """Overload makes no wrong request right."""
    answer = _ask(world, "own", "/api/v1/models/flowers/predict", {"instances": [[1, 2]]})
    assert answer.status == 400


def test_it_is_recorded_as_what_it_is(world: World) -> None:
    """In the record there is no prediction but the refusal: nobody learns from made-up answers."""
    _ask(world, "own", "/api/v1/models/flowers/predict", JSON)
    node = world.plane.node
    meters = node.meters_of(node.version("flowers", None))
    assert world.on_loop(meters.errors) >= 1


@pytest.mark.parametrize("value", [None, [1], [1, [0.5]], ["text", [0.1, 0.2, 0.7]], [1, [[1.0, 2.0, 3.0]]]])
def test_a_value_that_does_not_fit_refuses(world: World, value: object) -> None:
    """Where the configured value is no answer of the version the caller is refused, and the log says why."""
    before = {"overload_value": [2, [0.1, 0.2, 0.7]]}
    world.stores.models.override("flowers", {"overload_value": value}, who="test")
    assert world.plane.settled(world.stores.models.seq(), 10) == []
    assert _ask(world, "own", "/api/v1/models/flowers/predict", JSON).status == 503
    world.stores.models.override("flowers", before, who="test")
    assert world.plane.settled(world.stores.models.seq(), 10) == []
    assert _ask(world, "own", "/api/v1/models/flowers/predict", JSON).status == 200
