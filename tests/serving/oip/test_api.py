"""The protocol's resources over plain HTTP: methods, statuses, and errors in the protocol's own form."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator

import httpx
import pytest

from .bench import one_row
from .conftest import Served

pytestmark = pytest.mark.slow
INFER = "/v2/models/iris/infer"


@pytest.fixture(scope="module")
def http(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{served.address}", headers=served.key("http", "admin"), timeout=30) as client:
        yield client


def error_of(answer: httpx.Response) -> str:
    """The message of an error, which is the only member of the answer."""
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    (message,) = answer.json().values()
    assert list(answer.json()) == ["error"]
    assert isinstance(message, str)
    return message


def test_health_tells_what_it_knows(http: httpx.Client) -> None:
    """The bodies of the specification, also for HEAD, which has none."""
    assert http.get("/v2/health/live").json() == {"live": True}
    assert http.get("/v2/health/ready").json() == {"live": True, "ready": True}
    assert http.get("/v2/models/iris/versions/1/ready").json() == {"name": "iris", "ready": True}
    head = http.head("/v2/health/live")
    assert (head.status_code, head.content) == (200, b"")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/v2", "GET"),
        ("DELETE", "/v2/models/iris", "GET"),
        ("GET", INFER, "POST"),
        ("PUT", "/v2/models/iris/versions/1/infer", "POST"),
        ("GET", "/v2/repository/index", "POST"),
        ("GET", "/v2/repository/models/iris/load", "POST"),
        ("POST", "/v2/models/stats", "GET"),
        ("POST", "/v2/health/live", "GET"),
    ],
)
def test_wrong_methods(http: httpx.Client, method: str, path: str, allowed: str) -> None:
    """405 that names the method that there is."""
    answer = http.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    assert error_of(answer) == f"method: no such method here; found {method}; expected {allowed}"


@pytest.mark.parametrize("path", ["/v2/nothing", "/v2/models", "/v2/models/iris/versions", "/v2/logging", "/v2/a/b/c"])
def test_unknown_paths(http: httpx.Client, path: str) -> None:
    """404 in the protocol's form."""
    answer = http.get(path)
    assert answer.status_code == 404
    assert path in error_of(answer)


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"ready":1}', b"\xff", b"[" * 20_000])
def test_malformed_bodies_of_the_repository(http: httpx.Client, body: bytes) -> None:
    """400 with the place; the model stays loaded."""
    for path in ("/v2/repository/index", "/v2/repository/models/iris/unload"):
        if path.endswith("unload") and b"ready" in body:
            continue
        answer = http.post(path, content=body)
        assert answer.status_code == 400
        assert error_of(answer)
    assert http.get("/v2/models/iris/ready").status_code == 200


def test_the_index_of_what_is_ready(http: httpx.Client) -> None:
    """`ready: true` leaves out what cannot answer, and says why about the rest."""
    try:
        assert http.post("/v2/repository/models/sums/unload").status_code == 200
        entries = {entry["name"]: entry for entry in http.post("/v2/repository/index", content=b"{}").json()}
        assert entries["sums"] == {"name": "sums", "version": "1", "state": "UNAVAILABLE", "reason": "unloaded"}
        ready = http.post("/v2/repository/index", json={"ready": True}).json()
        assert {entry["name"] for entry in ready} == {"iris", "words"}
        assert http.get("/v2/models/sums/ready").status_code == 503
    finally:
        assert http.post("/v2/repository/models/sums/load", content=b"").status_code == 200
    assert http.get("/v2/models/sums/ready").status_code == 200


@pytest.mark.parametrize(
    ("headers", "body", "status", "words"),
    [
        ({"content-type": "text/plain"}, json.dumps(one_row()).encode(), 415, "content-type"),
        ({"content-encoding": "br"}, json.dumps(one_row()).encode(), 415, "gzip or deflate"),
        ({"content-encoding": "gzip"}, json.dumps(one_row()).encode(), 400, "gzip"),
        ({"content-encoding": "gzip"}, gzip.compress(json.dumps(one_row()).encode(), mtime=0)[:-9], 400, "ends early"),
        ({"inference-header-content-length": "ten"}, json.dumps(one_row()).encode(), 400, "'ten'"),
        ({"inference-header-content-length": "9999"}, json.dumps(one_row()).encode(), 400, "9999"),
        ({"authorization": "Bearer kn_none"}, json.dumps(one_row()).encode(), 401, "Bearer"),
        ({"x-request-timeout-ms": "soon"}, json.dumps(one_row()).encode(), 400, "soon"),
        ({}, b"", 400, "body"),
        ({}, b"null", 400, "expected object"),
    ],
)
def test_refusals_of_infer(http: httpx.Client, headers: dict[str, str], body: bytes, status: int, words: str) -> None:
    """What is wrong with the head or the frame of a request is told in the same form; the next one is answered."""
    answer = http.post(INFER, content=body, headers={"content-type": "application/json", **headers})
    assert answer.status_code == status
    assert words in error_of(answer)
    assert http.post(INFER, json=one_row()).json()["outputs"][0]["data"] == [0]


def test_several_rows_share_nothing_but_the_run(http: httpx.Client) -> None:
    """Pretty-printed, nested, with an unknown member: still the protocol."""
    body = one_row(id="z", extra=1)
    body["inputs"][0] |= {"shape": [2, 4], "data": [[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]]}
    answer = http.post(INFER, content=json.dumps(body, indent=3).encode()).json()
    assert (answer["id"], answer["outputs"][0]["data"]) == ("z", [0, 2])
    assert answer["outputs"][1]["shape"] == [2, 3]


def test_models_have_numbers_too(http: httpx.Client) -> None:
    """A number names the same model, which answers by its name."""
    about = http.get("/v2/models/iris").json()
    assert http.get("/v2/models/1").json() == about
    assert http.post("/v2/models/1/infer", json=one_row()).json()["model_name"] == "iris"
