"""The protocol of TensorFlow Serving and KServe v1 as its clients see it: plain HTTP against a real server."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .conformance import ROW
from .world import World

NUMBER = st.floats(-1e6, 1e6, width=32)
ROWS = st.lists(
    st.fixed_dictionaries(
        {"length": NUMBER, "width": st.none() | NUMBER, "petals": NUMBER, "colour": st.sampled_from(["red", "blue"])}
    ),
    min_size=1,
    max_size=8,
)


@pytest.fixture(scope="module")
def client(world: World) -> Iterator[httpx.Client]:
    """Somebody who may do everything."""
    with _client(world, world.key) as client:
        yield client


def _client(world: World, key: str) -> httpx.Client:
    host, port = world.addresses["own"]
    return httpx.Client(base_url=f"http://{host}:{port}", headers={"authorization": f"Bearer {key}"})


def ask(client: httpx.Client, path: str, **body: Any) -> Any:
    answer = client.post(f"/v1/models/{path}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


@given(rows=ROWS)
@settings(max_examples=40, deadline=None)
def test_rows_columns_and_the_other_protocol_agree(client: httpx.Client, rows: list[dict[str, Any]]) -> None:
    """The same rows give the same numbers in the row form, the column form, classify and `/api/v1`."""
    by_row = ask(client, "flowers:predict", instances=rows)["predictions"]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    by_column = ask(client, "flowers:predict", inputs=columns)["outputs"]
    scores = ask(client, "flowers:classify", examples=rows)["results"]
    own = client.post("/api/v1/models/flowers/predict", json={"instances": rows}).json()["predictions"]
    assert [row["probabilities"] for row in by_row] == by_column["probabilities"]
    assert [row["label"] for row in by_row] == by_column["label"]
    assert [dict(result) for result in scores] == [row["probabilities"] for row in own]
    assert [list(row["probabilities"].values()) for row in own] == by_column["probabilities"]


@given(texts=st.lists(st.text(max_size=40), min_size=1, max_size=5))
@settings(max_examples=30, deadline=None)
def test_texts_and_their_bytes_are_the_same(client: httpx.Client, texts: list[str]) -> None:
    """A text as such and in base64 reach the model as the same bytes, and come back so."""
    coded = [{"b64": base64.b64encode(text.encode()).decode()} for text in texts]
    for instances in (texts, coded, [{"image": one} for one in coded]):
        assert ask(client, "scan:predict", instances=instances) == {"predictions": coded}


def test_status_serves_clients_of_both_servers(client: httpx.Client) -> None:
    """TensorFlow Serving's form with KServe's members beside it, for a model, a version and a label."""
    status = client.get("/v1/models/flowers").json()
    assert (status["name"], status["ready"]) == ("flowers", True)
    ok = {"error_code": "OK", "error_message": ""}
    assert status["model_version_status"][0] == {"version": "1", "state": "AVAILABLE", "status": ok}
    assert [one["version"] for one in status["model_version_status"]] == ["1", "next"]
    for path in ("versions/1", "labels/promoted"):
        one = client.get(f"/v1/models/flowers/{path}").json()
        assert [found["version"] for found in one["model_version_status"]] == ["1"]
    assert client.get("/v1/models").json() == {"models": ["flowers", "house", "pair", "scan", "teller", "words"]}


def test_an_unloaded_model_says_so(world: World, client: httpx.Client) -> None:
    """`END` and not ready while it is unloaded, in the list of health, too."""
    for loaded, state, health in ((False, "END", "ng"), (True, "AVAILABLE", "ok")):
        world.stores.models.set_loaded("pair", loaded, who="test")
        assert world.plane.settled(world.stores.models.seq(), 30.0) == []
        status = client.get("/v1/models/pair").json()
        assert (status["ready"], status["model_version_status"][0]["state"]) == (loaded, state)
        assert client.get("/health/all").json()["pair"] == health
        asked = client.post("/v1/models/pair:predict", json={"instances": [{"a": [1, 2], "b": [3, 4]}]})
        assert asked.status_code == (200 if loaded else 503)
        if not loaded:
            assert list(asked.json()) == ["error"]
            assert asked.headers["retry-after"] == "1"


def test_metadata_names_what_a_request_may_contain(client: httpx.Client) -> None:
    """The features by name as a request has them, and the outputs; a request made of it is answered."""
    found = client.get("/v1/models/flowers/labels/canary/metadata").json()
    assert found["model_spec"] == {"name": "flowers", "signature_name": "", "version": "next"}
    signature = found["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert {name: one["dtype"] for name, one in signature["inputs"].items()} == {
        "length": "DT_FLOAT",
        "width": "DT_FLOAT",
        "petals": "DT_FLOAT",
        "colour": "DT_STRING",
    }
    shape = signature["outputs"]["probabilities"]["tensor_shape"]
    assert shape == {"dim": [{"size": "-1", "name": ""}, {"size": "3", "name": ""}], "unknown_rank": False}
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert set(signature["inputs"]) == set(ROW)
    pair = client.get("/v1/models/pair/metadata").json()["metadata"]["signature_def"]["signature_def"]
    assert pair["serving_default"]["inputs"]["a"]["tensor_shape"]["dim"][1]["size"] == "2"


def test_a_label_follows_its_tag(world: World, client: httpx.Client) -> None:
    """The tag moves to another version, and the next request by label is answered by that one."""

    def version() -> Any:
        return client.get("/v1/models/flowers/labels/stable/metadata").json()["model_spec"]["version"]

    models = world.stores.models
    for number in ("1", "next"):
        models.tag("flowers", number, add=["stable"], who="test")
        assert world.plane.settled(models.seq(), 30.0) == []
        assert version() == number  # of two versions with a tag the one added last
        answer = client.post("/v1/models/flowers/labels/stable:predict", json={"instances": [ROW]})
        assert answer.status_code == 200
    for number in ("1", "next"):
        models.tag("flowers", number, remove=["stable"], who="test")
    assert world.plane.settled(models.seq(), 30.0) == []
    assert client.get("/v1/models/flowers/labels/stable/metadata").status_code == 404


def test_class_labels_and_health(world: World, client: httpx.Client) -> None:
    """What a gateway asks: the labels of a classifier, and which models answer; no more than the key may see."""
    assert client.get("/label/flowers").json() == ["a", "b", "c"]
    assert client.get("/label/pair").json() == []
    assert client.get("/label/flower").status_code == 404
    assert client.get("/health/all").json() == dict.fromkeys(
        ("flowers", "house", "pair", "scan", "teller", "words"), "ok"
    )
    with _client(world, world.poor) as poor:
        assert poor.get("/health/all").json() == {"flowers": "ok"}
        assert poor.get("/v1/models").json() == {"models": ["flowers"]}
        assert poor.get("/label/flowers").json() == ["a", "b", "c"]
        assert {poor.get(f"/label/{name}").status_code for name in ("pair", "nothing")} == {403}
    with _client(world, "kn_nobody_x") as nobody:
        assert {nobody.get(path).status_code for path in ("/health/all", "/v1/models", "/label/flowers")} == {401}


def test_every_request_is_counted_and_recorded(world: World, client: httpx.Client) -> None:
    """The protocol has no path of its own past the meters and the record."""
    before = client.get("/metrics").text
    ask(client, "house:regress", examples=[{"area": 2, "rooms": 3}])
    assert client.post("/v1/models/house:predict", json={"instances": [{"area": "x", "rooms": 1}]}).status_code == 400
    after = client.get("/metrics").text

    def count(text: str, code: str) -> float:
        lines = [line for line in text.splitlines() if line.startswith("kaname_requests_total{")]
        return sum(float(line.split(" ")[-1]) for line in lines if 'model="house"' in line and f'code="{code}"' in line)

    assert count(after, "ok") == count(before, "ok") + 1
    assert count(after, "invalid_input") == count(before, "invalid_input") + 1


def test_the_description_covers_the_protocol(client: httpx.Client) -> None:
    """Every URL of the protocol is in /openapi.json, with errors in the protocol's own form."""
    paths = client.get("/openapi.json").json()["paths"]
    for tail in ("", "/versions/{version}", "/labels/{label}"):
        for verb in ("predict", "classify", "regress"):
            operation = paths[f"/v1/models/{{model}}{tail}:{verb}"]["post"]
            schema = operation["responses"]["default"]["content"]["application/json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/Refused"}
        assert "get" in paths[f"/v1/models/{{model}}{tail}/metadata"]
    assert {"/health/all", "/label/{model}", "/v1/models"} <= set(paths)
