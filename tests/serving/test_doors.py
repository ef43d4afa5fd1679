"""Every case of the conformance table through both doors: the same bytes, no harm done, the next request fine."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from .conformance import API_CASES, GOOD, GOOD_CASES, PARSER_CASES, STREAM_CASES, V1_CASES, V2, V2_CASES, Case, http
from .world import Client, Response, World

MALFORMED = [*API_CASES, *STREAM_CASES, *V1_CASES, *V2_CASES, *PARSER_CASES]
CASES = [*GOOD_CASES, *MALFORMED]
V2_GOOD = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 0]}]}
CLOSE = b"connection: close\r\n"


@pytest.fixture
def doors(world: World) -> Iterator[dict[str, Client]]:
    """A connection at each door."""
    clients = {name: Client(world.addresses[name]) for name in ("own", "asgi")}
    yield clients
    for client in clients.values():
        client.close()


@pytest.fixture
def secured(world: World) -> Iterator[Client]:
    """A connection with TLS."""
    with Client(world.addresses["tls"], tls=world.trust) as client:
        yield client


def with_keys(world: World, raw: bytes) -> bytes:
    for name in ("key", "reader", "poor"):
        raw = raw.replace(b"{%b}" % name.encode(), getattr(world, name).encode())
    return raw


def ask(world: World, client: Client, case: Case) -> Response:
    client.send(with_keys(world, case.raw))
    return client.answer(head_only=case.head_only)


def test_the_table_is_as_large_as_it_should_be() -> None:
    """At least 60 malformed requests, each under a name of its own."""
    assert len(MALFORMED) >= 60
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_both_doors_answer_alike_and_go_on(world: World, doors: dict[str, Client], case: Case) -> None:
    """The status that the table names, the place of the fault, the same bytes at both doors, a good request next."""
    before = world.on_loop(lambda: world.plane.node.snapshot.number)
    answers = {name: ask(world, client, case) for name, client in doors.items() if case.same or name == "own"}
    own = answers["own"]
    assert own.status == case.status, own.raw
    for word in case.words:
        assert word in own.body.decode(), own.body
    check_form(case, own)
    if case.same:
        assert own.raw.replace(CLOSE, b"") == answers["asgi"].raw.replace(CLOSE, b"")
    assert own.closes != case.stays
    for name in answers:
        check_next(world, doors[name], name, answers[name])
    assert world.on_loop(lambda: world.plane.gate.held_bytes) == 0
    assert world.on_loop(lambda: world.plane.node.snapshot.number) == before
    assert world.stores.models.seq() == before


@pytest.mark.parametrize("case", CASES[::4], ids=lambda case: case.name)
def test_tls_changes_no_answer(world: World, doors: dict[str, Client], secured: Client, case: Case) -> None:
    """Every fourth request of the table: the bytes of the open door, and a good request next."""
    plain, encrypted = ask(world, doors["own"], case), ask(world, secured, case)
    assert encrypted.raw == plain.raw
    if case.stays:
        assert ask(world, secured, GOOD_CASES[0]).status == 200
    else:
        assert secured.ended()


def check_form(case: Case, answer: Response) -> None:
    """Errors of `/api` are problem documents, those of `/v1` and `/v2` the protocols' own; each names its cause."""
    if answer.status == 200 or case.head_only:
        return
    assert 400 <= answer.status < 500
    document = json.loads(answer.body)
    request_line = case.raw.partition(b"\r\n")[0]
    if b" /v1" in request_line or b" /v2" in request_line:
        assert answer.headers[b"content-type"] == b"application/json"
        assert list(document) == ["error"]
        assert document["error"]
        return
    assert answer.headers[b"content-type"] == b"application/problem+json"
    assert document["status"] == answer.status
    assert document["request_id"].encode() == answer.headers[b"x-request-id"]
    assert document["type"] == f"urn:kaname:problem:{document['code']}"
    assert document["detail"]
    if answer.status == 401:
        assert answer.headers[b"www-authenticate"].startswith(b"Bearer")


def check_next(world: World, client: Client, name: str, answer: Response) -> None:
    """The next good request is answered, on the same connection where it lives."""
    if answer.closes:
        assert client.ended()
        client = Client(world.addresses[name])
    try:
        client.send(with_keys(world, http(GOOD)))
        assert client.answer().status == 200
    finally:
        client.close()


@pytest.mark.parametrize("door", ["own", "asgi"])
def test_a_spent_rate_limit_says_when_to_come_back(world: World, door: str) -> None:
    """429 with Retry-After at once, in each protocol's form, and nothing is computed."""
    key = world.poor.encode()
    with Client(world.addresses[door]) as client:
        for target in ("/api/v1/models/flowers/predict", V2):
            for _ in range(4):
                body = (
                    GOOD
                    if target != V2
                    else json.loads(b'{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[1,2,3,0]}]}')
                )
                client.send(http(body, target=target).replace(b"{key}", key))
                answer = client.answer()
                if answer.status != 200:
                    break
            assert answer.status == 429
            assert int(answer.headers[b"retry-after"]) > 1


@pytest.mark.parametrize("door", ["own", "asgi"])
def test_an_unloaded_model_is_unavailable_until_it_is_loaded(world: World, door: str) -> None:
    """503 while it is unloaded, and the very next request after the load is answered."""
    raw = with_keys(world, http({"features": ["a", "b"]}, target="/api/v1/models/words/predict"))
    with Client(world.addresses[door]) as client:
        for loaded, status in ((False, 503), (True, 200)):
            world.stores.models.set_loaded("words", loaded, who="test")
            assert world.plane.settled(world.stores.models.seq(), 30.0) == []
            client.send(raw)
            answer = client.answer()
            assert answer.status == status
            if status == 503:
                assert answer.headers[b"retry-after"] == b"1"
