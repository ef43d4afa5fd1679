"""Entities over the other protocols: the Open Inference Protocol (HTTP, gRPC) and TensorFlow Serving's REST API."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from kaname.protobuf.messages import Message, kind
from tests.processes import until
from tests.servers import free_port
from tests.serving.test_views import AT, ROWS, SCHEMAS, VIEWS
from tests.serving.world import Client, Response, World

TWIN = """
name: twin
entity: [b]
reads: [{relation: pairs, key: {day: b}, latest: at, features: {a: {attribute: left}}}]
"""
SCANS = """
define relation scanned { id bytes key, content bytes };
define schema scans for scanned on cells("main") { table "scans", row size{id}, family "f", value pack[] };
"""
SCAN = """
name: scan
entity: [id]
reads: [{relation: scanned, features: {image: {attribute: content}}}]
"""
Columns = dict[str, list[Any]]
Answered = tuple[int, Any]
"""Status, and the probabilities of each row or what is wrong."""


class Served(World):
    """A data plane that answers gRPC, too."""

    target: str


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A running data plane whose `flowers` read the view `plant`; the view of `house` is not there."""
    folder, port = tmp_path_factory.mktemp("viewed"), free_port()
    (folder / "features").mkdir()
    (folder / "features" / "all.schema").write_text(SCHEMAS + SCANS)
    for name, text in {**VIEWS, "twin": TWIN, "scan": SCAN}.items():
        (folder / "features" / f"{name}.view.yaml").write_text(text)
    made = Served(folder, port)
    made.target = f"127.0.0.1:{port}"
    features = made.stores.features
    features.relation("plant").insert(ROWS)
    features.relation("weather").insert([{"place": "Oslo", "at": AT, "rain": 1.25}])
    features.relation("pairs").insert([{"day": AT.date(), "at": AT, "left": (1, 2), "right": (3.0, 4.0)}])
    features.relation("scanned").insert([{"id": b"\0\xff", "content": b"\1\xc3\xbc"}, {"id": b"a", "content": b"b"}])
    for model, view in (("flowers", "plant"), ("pair", "twin"), ("scan", "scan"), ("house", "nothing")):
        made.stores.models.override(model, {"view": view}, who="test")
    with made:
        yield made


# --- one request in every form --------------------------------------------------------------------------


def sent(world: World, path: str, body: bytes, headers: str) -> Response:
    """What answers a request."""
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {world.key}\r\n{headers}"
    with Client(world.addresses["own"]) as client:
        client.send(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        return client.answer()


def post(world: World, path: str, body: bytes, headers: str = "") -> tuple[int, Any]:
    """Status and document of an answer."""
    answer = sent(world, path, body, headers)
    return answer.status, json.loads(answer.body)


def raw_bytes(*values: bytes) -> bytes:
    """Elements of BYTES."""
    return b"".join(struct.pack("<I", len(value)) + value for value in values)


def tensor(name: str, values: list[Any]) -> dict[str, Any]:
    """An input of the Open Inference Protocol without its data."""
    datatype = "BYTES" if isinstance(values[0], str) else "INT64" if isinstance(values[0], int) else "FP32"
    return {"name": name, "datatype": datatype, "shape": [len(values), 1]}


def raw(values: list[Any]) -> bytes:
    """The same data as bytes."""
    if isinstance(values[0], str):
        return raw_bytes(*[text.encode() for text in values])
    return np.array(values, "<i8" if isinstance(values[0], int) else "<f4").tobytes()


def told(status: int, answer: Any) -> Answered:
    """What an answer of the Open Inference Protocol says."""
    if status != 200:
        return status, answer["error"]
    flat = next(each for each in answer["outputs"] if each["name"] == "probabilities")["data"]
    return status, np.array(flat, np.float32).reshape(-1, 3).tolist()


def oip(world: Served, keys: Columns, given: Columns) -> Answered:
    inputs = [{**tensor(name, values), "data": values} for name, values in {**keys, **given}.items()]
    return told(*post(world, "/v2/models/flowers/infer", json.dumps({"inputs": inputs}).encode()))


def oip_binary(world: Served, keys: Columns, given: Columns) -> Answered:
    columns = {**given, **keys}
    blobs = [raw(values) for values in columns.values()]
    inputs = [
        {**tensor(name, values), "parameters": {"binary_data_size": len(blob)}}
        for (name, values), blob in zip(columns.items(), blobs, strict=True)
    ]
    head = json.dumps({"inputs": inputs}).encode()
    length = f"inference-header-content-length: {len(head)}\r\n"
    return told(*post(world, "/v2/models/flowers/infer", head + b"".join(blobs), length))


def infer(world: Served, request: Message) -> tuple[int, Any]:
    """Status and answer of ModelInfer, or what is wrong."""
    answered = kind("inference.ModelInferResponse")
    with grpc.insecure_channel(world.target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        call = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answered.FromString,
        )
        try:
            return 200, call(request, timeout=20, metadata=[("authorization", f"Bearer {world.key}")])
        except grpc.RpcError as error:
            return {grpc.StatusCode.INVALID_ARGUMENT: 400}.get(error.code(), 500), error.details()


def over_grpc(world: Served, keys: Columns, given: Columns) -> Answered:
    request = kind("inference.ModelInferRequest")(model_name="flowers")
    for name, values in {**keys, **given}.items():
        request.inputs.add(**tensor(name, values))
        request.raw_input_contents.append(raw(values))
    status, answer = infer(world, request)
    if status != 200:
        return status, answer
    return status, np.frombuffer(answer.raw_output_contents[1], "<f4").reshape(-1, 3).tolist()


def typed_grpc(world: Served, keys: Columns, given: Columns) -> Answered:
    request = kind("inference.ModelInferRequest")(model_name="flowers")
    for name, values in {**keys, **given}.items():
        one = request.inputs.add(**tensor(name, values))
        if isinstance(values[0], str):
            one.contents.bytes_contents.extend(text.encode() for text in values)
        elif isinstance(values[0], int):
            one.contents.int64_contents.extend(values)
        else:
            one.contents.fp32_contents.extend(values)
    status, answer = infer(world, request)
    if status != 200:
        return status, answer
    return status, np.array(answer.outputs[1].contents.fp32_contents, "<f4").reshape(-1, 3).tolist()


def said(status: int, answer: Any, member: str) -> Answered:
    """What an answer of TensorFlow Serving says."""
    if status != 200:
        return status, answer["error"]
    found = answer[member]
    rows = [row["probabilities"] for row in found] if member == "predictions" else found["probabilities"]
    return status, np.array(rows, np.float32).tolist()


def rows_of(keys: Columns, given: Columns) -> list[dict[str, Any]]:
    count = max(len(values) for values in (keys | given).values())
    whole = {name: values * count if len(values) == 1 else values for name, values in (keys | given).items()}
    return [dict(zip(whole, values, strict=True)) for values in zip(*whole.values(), strict=True)]


def tfs(world: Served, keys: Columns, given: Columns) -> Answered:
    body = json.dumps({"instances": rows_of(keys, given)}).encode()
    return said(*post(world, "/v1/models/flowers:predict", body), "predictions")


def tfs_columns(world: Served, keys: Columns, given: Columns) -> Answered:
    body = json.dumps({"inputs": {**keys, **given}}).encode()
    return said(*post(world, "/v1/models/flowers:predict", body), "outputs")


FORMS: dict[str, Callable[[Served, Columns, Columns], Answered]] = {
    each.__name__: each for each in (oip, oip_binary, over_grpc, typed_grpc, tfs, tfs_columns)
}


def plain(world: Served, keys: Columns, given: Columns) -> list[list[float]]:
    """The probabilities that `/api/v1` gives."""
    entities, instances = rows_of(keys, {}), rows_of({}, given) if given else []
    shared = len(entities) == 1 and len(instances) > 1
    body: dict[str, Any] = {"entity": entities[0]} if shared else {"entities": entities}
    status, answer = post(
        world, "/api/v1/models/flowers/predict", json.dumps(body | ({"instances": instances} if given else {})).encode()
    )
    assert status == 200, answer
    found = [[*one["probabilities"].values()] for one in answer["predictions"]]
    return np.array(found, np.float32).tolist()  # type: ignore[no-any-return]  # of two dimensions


ASKED: dict[str, tuple[Columns, Columns]] = {
    "one entity": ({"plant_id": [1], "place": ["Oslo"]}, {}),
    "several, one key for all": ({"plant_id": [1, 2], "place": ["Oslo"]}, {}),
    "with values": ({"plant_id": [2, 9], "place": ["Oslo", "Rome"]}, {"length": [2.0, 3.5], "colour": ["blue", "red"]}),
    "values for one entity": ({"plant_id": [1], "place": ["Oslo"]}, {"rain": [0.5, 2.5, 8.0]}),
    "what is derived": ({"plant_id": [1], "place": ["Bergen"]}, {"petals": [7.25]}),
}


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("form", FORMS)
def test_every_protocol_answers_as_the_servers_own(world: Served, form: str, asked: str) -> None:
    """Keys among the inputs; what the view has may be left out, and what is given stands in its place."""
    status, found = FORMS[form](world, *ASKED[asked])
    assert status == 200, found
    assert found == plain(world, *ASKED[asked])


REFUSED: dict[str, tuple[Columns, Columns, str, str]] = {
    "a key is missing": ({"plant_id": [1, 2]}, {}, "[0].place", "an entity key is missing"),
    "a key of another type": ({"plant_id": ["x"], "place": ["Oslo"]}, {}, "[0].plant_id", "not a value"),
    "nothing to read": ({"plant_id": [1, 9], "place": ["Oslo"]}, {}, "[1].length", "no row of `plant`"),
    "a value of another type": ({"plant_id": [1], "place": ["Oslo"]}, {"rain": ["much"]}, "rain", "found str"),
    "an unknown category": ({"plant_id": [1], "place": ["Oslo"]}, {"colour": ["green"]}, "[0].colour", "unknown"),
    "rows that do not fit": ({"plant_id": [1, 2], "place": ["Oslo"]}, {"length": [1.0] * 3}, "inputs", "rows"),
    "too many rows": ({"plant_id": [1] * 51, "place": ["Oslo"]}, {}, "", "number of rows"),
}


@pytest.mark.parametrize(
    ("form", "case"),
    [(form, case) for form in FORMS for case in REFUSED if form != "tfs" or case != "rows that do not fit"],
)
def test_a_bad_request_is_refused_with_the_row_and_the_column(world: Served, form: str, case: str) -> None:
    """In the words of the protocol; the next good one is answered."""
    keys, given, where, message = REFUSED[case]
    status, found = FORMS[form](world, keys, given)
    assert status in (400, 413, 500 if form.endswith("grpc") else 400), found
    assert where in found, found
    assert message in found, found
    assert FORMS[form](world, *ASKED["one entity"])[0] == 200


def oip_inputs(world: World, model: str, *inputs: dict[str, Any]) -> tuple[int, Any]:
    return post(world, f"/v2/models/{model}/infer", json.dumps({"id": "mine", "inputs": inputs}).encode())


def test_what_only_this_protocol_has_is_there_for_entities(world: Served) -> None:
    """The caller's id, and the outputs that are asked for."""
    keys = [{**tensor(name, values), "data": values} for name, values in ASKED["one entity"][0].items()]
    body = {"id": "mine", "inputs": keys, "outputs": [{"name": "label"}]}
    status, answer = post(world, "/v2/models/flowers/infer", json.dumps(body).encode())
    assert (status, answer["id"], [each["name"] for each in answer["outputs"]]) == (200, "mine", ["label"])


def test_a_key_that_is_an_input_too_has_a_longer_name(world: Served) -> None:
    """Vectors are read and given; a date is a text, as in the server's own protocol."""
    day = {"name": "entity.b", "datatype": "BYTES", "shape": [1], "data": ["1970-01-01"]}
    b = {"name": "b", "datatype": "INT32", "shape": [2, 2], "data": [10, 20, 30, 40]}
    status, answer = oip_inputs(world, "pair", day, b)
    assert (status, answer.get("outputs", answer)[0]["data"]) == (200, [11, 22, 31, 42])
    body = json.dumps({"instances": [{"entity.b": "1970-01-01", "b": [10, 20]}]}).encode()
    assert post(world, "/v1/models/pair:predict", body) == (200, {"predictions": [[11, 22]]})
    status, answer = oip_inputs(world, "pair", {**day, "data": ["soon"]}, b)
    assert (status, "rows[0].b" in answer["error"]) == (400, True), answer
    status, answer = oip_inputs(world, "pair", day, {**b, "name": "c"})
    assert (status, "inputs[1].name" in answer["error"]) == (400, True), answer


def test_bytes_are_the_bytes_of_an_element(world: Served) -> None:
    """As binary data, in base64 or as the text that they are; a text that they are not is refused."""
    key = raw_bytes(b"\0\xff", b"a")
    said = {"name": "id", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": len(key)}}
    head = json.dumps({"inputs": [said], "outputs": [{"name": "echo_bytes", "parameters": {"binary_data": True}}]})
    path, length = "/v2/models/scan/infer", f"inference-header-content-length: {len(head)}\r\n"
    assert sent(world, path, head.encode() + key, length).body.endswith(raw_bytes(b"\1\xc3\xbc", b"b"))
    body = json.dumps({"instances": [{"id": {"b64": "AP8="}}, {"id": "a"}]}).encode()
    answer = post(world, "/v1/models/scan:predict", body)
    assert answer == (200, {"predictions": [{"b64": "AcO8"}, {"b64": "Yg=="}]})
    status, refused = oip_inputs(world, "scan", {"name": "id", "datatype": "BYTES", "shape": [1], "data": ["b"]})
    assert (status, "no row of `scanned`" in refused["error"]) == (400, True), refused
    where = {"name": "place", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 6}}
    head = json.dumps({"inputs": [where]})
    length = f"inference-header-content-length: {len(head)}\r\n"
    status, refused = post(world, "/v2/models/flowers/infer", head.encode() + raw_bytes(b"\0\xff"), length)
    assert (status, "inputs[0]: not a text" in refused["error"]) == (400, True), refused


def test_the_context_of_examples_is_shared(world: Served) -> None:
    """One place for all rows, an id for each; labels as in a whole row."""
    body = {"context": {"place": "Oslo"}, "examples": [{"plant_id": 1}, {"plant_id": [2], "width": 3}]}
    status, answer = post(world, "/v1/models/flowers:classify", json.dumps(body).encode())
    assert status == 200, answer
    expected = plain(world, {"plant_id": [1, 2], "place": ["Oslo"]}, {"width": [0.5, 3.0]})
    found = [sorted(each) for each in answer["results"]]
    assert np.allclose([[score for _, score in each] for each in found], expected)
    status, answer = post(world, "/v1/models/flowers:regress", json.dumps(body).encode())
    assert (status, "cannot regress" in answer["error"]) == (400, True)


WHOLE = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 0]}


def test_whole_rows_are_answered_as_ever(world: Served) -> None:
    """By a model whose view is read, and by one whose view is not there, which says so where keys are given."""
    assert oip_inputs(world, "flowers", WHOLE)[0] == 200
    body = json.dumps({"instances": [{"length": 1, "width": 2, "petals": 3, "colour": "red"}]}).encode()
    assert post(world, "/v1/models/flowers:predict", body)[0] == 200
    area = {"name": "area", "shape": [1, 1], "datatype": "FP32", "data": [2.0]}
    rooms = {"name": "rooms", "shape": [1, 1], "datatype": "INT64", "data": [3]}
    status, answer = oip_inputs(world, "house", area, rooms)
    assert (status, answer["outputs"][0]["data"]) == (200, [6.0])
    status, answer = oip_inputs(world, "house", {**rooms, "name": "plant_id"})
    assert (status, "no such view" in answer["error"]) == (503, True), answer


def test_a_view_that_comes_later_is_used(world: Served) -> None:
    """Without a restart or another change: the next requests have it tried again, now and then."""
    path = world.stores.project.root / "features" / "nothing.view.yaml"
    key = {"name": "plant_id", "shape": [1], "datatype": "INT64", "data": [1]}
    rooms = {"name": "rooms", "shape": [1], "datatype": "INT64", "data": [3]}
    said = VIEWS["wrong"].replace("wrong", "nothing").replace("tint", "length")

    def asked() -> tuple[int, Any]:
        world.clock.advance(ms=1500)
        return oip_inputs(world, "house", key, rooms)

    path.write_text(said.replace("plant_id", "id"))
    until(lambda: "nothing.view.yaml" in str(asked()[1]), "the fault is told")
    path.write_text(said)
    until(lambda: asked()[0] == 200, "the view is opened")
    assert asked()[1]["outputs"][0]["data"] == [4.5]
