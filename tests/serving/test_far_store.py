"""A store over the network that stops answering: predictions go on, with what was kept or with defaults."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from kaname.features.layout import StoreName
from kaname.features.views.guard import Meters
from kaname.storage.cells.types import CellStore
from tests.features.views.far import Far, FarCassandra, far_store
from tests.processes import until
from tests.serving.world import Client, World

SCHEMAS = """
define relation plant { plant_id int64 key, length float64, width float32, tint string };
define schema plants for plant on cells("main") { table "plants", row plant_id, family "f", value pack[] };
define relation weather { place string key, at timestamp key, rain float64 };
define schema by_place for weather on cells("far") {
  table "weather", row size{place}:desc{at}, family "f", value pack[]
};
define relation soil { place string key, petals float64 };
define schema soils for soil on cells("far") { table "soils", row place, family "f", value pack[] };
"""
PLANT = """
  - relation: plant
    features: {length: , width: , colour: {attribute: tint}}
"""
VIEWS = {
    "near": f"name: near\nentity: [plant_id]\nreads:{PLANT}derived: {{petals: length * 2}}",
    "far": f"""
name: far
entity: [plant_id, place]
reads:{PLANT}
  - relation: weather
    latest: at
    features: {{rain: {{default: 9.0}}}}
derived: {{petals: rain * 1}}
""",
    "strict": f"name: strict\nentity: [plant_id, place]\nreads:{PLANT}  - {{relation: soil, features: {{petals: }}}}",
}
SETTINGS = {"flowers": "far", "house": "", "pair": ""}
ROWS: list[dict[str, object]] = [{"plant_id": 1, "length": 1.5, "width": 0.5, "tint": "blue"}]
PLACES = [f"p{n}" for n in range(200)]
BOUND_S = 0.5
"""No answer takes longer: 50 ms for the store, and a busy machine."""


@pytest.fixture(params=["process", pytest.param("cassandra", marks=pytest.mark.services)])
def far(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Far | FarCassandra]:
    """The store in its process; a real server, too."""
    if request.param == "cassandra":
        yield FarCassandra(request.getfixturevalue("cassandra"))
        return
    with far_store(tmp_path_factory.mktemp("far")) as made:
        yield made


@pytest.fixture
def world(tmp_path_factory: pytest.TempPathFactory, far: Far | FarCassandra) -> Iterator[World]:
    """A running data plane whose `flowers` read from a store at hand and from one far away."""
    folder = tmp_path_factory.mktemp("world")
    (folder / "features").mkdir()
    (folder / "features" / "all.schema").write_text(SCHEMAS)
    for name, text in VIEWS.items():
        (folder / "features" / f"{name}.view.yaml").write_text(text)
    made = World(folder)
    features = made.stores.features
    near = features._open_store

    def open_store(name: StoreName) -> CellStore:
        return far.store if name.name == "far" else near(name)

    features._open_store = open_store
    features._is_quick = made.stores.readers._is_embedded = lambda name: name.name != "far"
    features.relation("plant").insert(ROWS)
    at = datetime(2000, 1, 1, tzinfo=UTC)
    features.relation("weather").insert([{"place": place, "at": at, "rain": 1.0} for place in PLACES])
    features.relation("soil").insert([{"place": place, "petals": 1.0} for place in PLACES])
    made.stores.models.override("flowers", {"view": "far"}, who="test")
    with made:
        yield made
        far.resume()


def ask(world: World, place: str, *, plant: int = 1) -> tuple[int, dict[str, Any], float]:
    """Status, document and seconds of an answer to a question that names a place."""
    data = json.dumps({"entity": {"plant_id": plant, "place": place}}).encode()
    began = time.monotonic()
    with Client(world.addresses["own"]) as client:
        client.send(
            b"POST /api/v1/models/flowers/predict?explain=features HTTP/1.1\r\nhost: 127.0.0.1\r\n"
            + f"authorization: Bearer {world.key}\r\ncontent-length: {len(data)}\r\n\r\n".encode()
            + data
        )
        answer = client.answer()
    return answer.status, json.loads(answer.body), time.monotonic() - began


def petals(answer: dict[str, Any]) -> float:
    """The feature that came from far."""
    return float(answer["features"]["petals"]["value"])


def gauge(world: World, name: str) -> float:
    """The sum of a metric of the layout `by_place`."""
    found = meters(world)
    return found.open.value if name == "open" else found.rows[name].value


def meters(world: World) -> Meters:
    """What has been counted of that layout."""
    found = world.stores.readers.guards._of["weather", "by_place"].meters
    assert found is not None
    return found


def test_a_frozen_store_costs_no_answer_and_is_used_again(world: World, far: Far | FarCassandra) -> None:
    """What was kept and defaults stand in within a bounded time; the breaker opens, and closes by itself."""
    status, answer, _ = ask(world, "p0")
    assert (status, petals(answer)) == (200, 1.0)
    far.freeze()
    world.clock.advance(ms=61_000)  # what is kept is no longer good, but better than nothing
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda place: ask(world, place), PLACES[:60]))
    assert {status for status, _, _ in answers} == {200}
    assert petals(answers[0][1]) == 1.0
    assert {petals(answer) for _, answer, _ in answers[1:]} == {9.0}
    assert max(seconds for _, _, seconds in answers) < BOUND_S
    assert gauge(world, "open") == 1.0
    took = sorted(ask(world, place)[2] for place in PLACES[:40])
    assert took[20] < 0.04  # nobody waits any more
    far.resume()

    places = iter(PLACES[60:])

    def read_again() -> bool:
        world.clock.advance(ms=500)
        return petals(ask(world, next(places))[1]) == 1.0 and gauge(world, "open") == 0.0

    until(read_again, "the store is used again")
    assert gauge(world, "failed") > 0
    assert gauge(world, "stale") > 0


def test_other_stores_are_not_affected(world: World, far: Far | FarCassandra) -> None:
    """A model that reads what is at hand answers as ever; the far one's threads wait alone."""
    world.stores.models.override("flowers", {"view": "near"}, who="test")
    assert world.plane.settled(world.stores.models.seq(), 10) == []
    far.freeze()
    data = json.dumps({"entity": {"plant_id": 1}}).encode()
    for _ in range(20):
        began = time.monotonic()
        with Client(world.addresses["own"]) as client:
            client.send(
                b"POST /api/v1/models/flowers/predict HTTP/1.1\r\nhost: 127.0.0.1\r\n"
                + f"authorization: Bearer {world.key}\r\ncontent-length: {len(data)}\r\n\r\n".encode()
                + data
            )
            assert client.answer().status == 200
        assert time.monotonic() - began < BOUND_S
    far.resume()


def test_without_a_default_the_store_s_failure_is_said(world: World, far: Far | FarCassandra) -> None:
    """503, within the time of a lookup, so that the caller may come back."""
    world.stores.models.override("flowers", {"view": "strict"}, who="test")
    assert world.plane.settled(world.stores.models.seq(), 10) == []
    assert ask(world, "p1")[0] == 200
    far.freeze()
    status, answer, seconds = ask(world, "p2")
    assert (status, answer["where"]) == (503, "schema soil.soils")
    assert seconds < BOUND_S
    assert petals(ask(world, "p1")[1]) == 1.0  # still good
    far.resume()


def test_one_row_is_asked_for_once(world: World, far: Far | FarCassandra) -> None:
    """Requests that come while it is on its way share the answer."""
    ask(world, "p0")
    before = gauge(world, "store")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(world, "p7"), range(32)))
    assert {petals(answer) for _, answer, _ in answers} == {1.0}
    assert gauge(world, "store") - before + gauge(world, "cache") >= 32
    assert meters(world).seconds.count <= 1 + 8


def read(world: World, body: object, query: str = "") -> tuple[int, dict[str, Any], float]:
    """The same of a view, without a model."""
    data = json.dumps(body).encode()
    began = time.monotonic()
    with Client(world.addresses["own"]) as client:
        client.send(
            f"POST /api/v1/views/far/read{query} HTTP/1.1\r\nhost: 127.0.0.1\r\n"
            f"authorization: Bearer {world.key}\r\ncontent-length: {len(data)}\r\n\r\n".encode()
            + data
        )
        answer = client.answer()
    return answer.status, json.loads(answer.body), time.monotonic() - began


def test_views_are_read_over_http_without_waiting_for_a_store(world: World, far: Far | FarCassandra) -> None:
    """Other requests are answered while one waits; after its time it has the defaults."""
    entities = [{"plant_id": 1, "place": place} for place in PLACES[:40]]

    def come() -> bool:
        """Each row is a question of its own: what comes too late for a request is kept for the next."""
        status, answer, _ = read(world, {"entities": entities})
        return (status, {row["rain"] for row in answer["instances"]}) == (200, {1.0})

    until(come, "all rows are read")
    status, answer, _ = read(world, {"entity": entities[0]}, "?explain=features")
    assert answer["features"]["rain"]["origin"] == "cache"
    status, answer, _ = read(world, {"entity": {"plant_id": 1}})
    assert (status, answer["where"]) == (400, "entity.place")
    far.freeze()
    with ThreadPoolExecutor(4) as pool:
        answers = list(
            pool.map(lambda place: read(world, {"entity": {"plant_id": 1, "place": place}}), PLACES[100:104])
        )
    assert {(status, answer["features"]["rain"]) for status, answer, _ in answers} == {(200, 9.0)}
    assert max(seconds for _, _, seconds in answers) < BOUND_S
