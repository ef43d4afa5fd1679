"""Which hosts and origins may be named in a request."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from kaname.errors import Forbidden, InvalidInput
from kaname.ids import counting_ids
from kaname.web.hosts import Guarded, HostGuard
from tests.web.asking import Asker


@pytest.mark.parametrize("host", [b"localhost", b"LOCALHOST:8080", b"127.0.0.1:8080", b"[::1]:1", None])
def test_a_loopback_server_answers_to_loopback_names(host: bytes | None) -> None:
    """Any port, any case; no Host at all is an old client, never a browser."""
    assert HostGuard("127.0.0.1").refusal(host, None) is None


@pytest.mark.parametrize("host", [b"evil.example", b"127.0.0.1.evil.example", b"localhost.evil.example:8080"])
def test_a_loopback_server_refuses_other_names(host: bytes) -> None:
    """A rebound DNS name does not reach it, again and again."""
    guard = HostGuard("127.0.0.1", hosts=["kaname.local"])
    assert guard.refusal(b"kaname.local:80", None) is None
    for _ in range(2):
        assert isinstance(guard.refusal(host, None), Forbidden)


@pytest.mark.parametrize("host", [b"", b"a b", b"a:b", b"a/b", b"[::1", b"\xff", b"a@b"])
def test_a_malformed_host_is_invalid_everywhere(host: bytes) -> None:
    """Also where any name is accepted."""
    assert isinstance(HostGuard("0.0.0.0").refusal(host, None), InvalidInput)


def test_a_public_server_answers_to_any_name_unless_names_are_listed() -> None:
    """Behind its own address it cannot know its names; a list makes it strict."""
    assert HostGuard("0.0.0.0").refusal(b"model.example", None) is None
    assert HostGuard("10.0.0.1", hosts=["model.example"]).refusal(b"10.0.0.1", None) is None
    assert isinstance(HostGuard("0.0.0.0", hosts=["model.example"]).refusal(b"other.example", None), Forbidden)


@pytest.mark.parametrize(
    ("origin", "good"),
    [
        (b"http://localhost:8080", True),
        (b"https://localhost:8080", True),
        (b"https://app.example", True),
        (b"http://localhost:9999", False),
        (b"null", False),
        (b"", False),
        (b"https://app.example.evil", False),
    ],
)
def test_only_own_and_listed_origins_may_ask(origin: bytes, good: bool) -> None:
    """Another page in the browser, also one of another local port, is refused."""
    guard = HostGuard("127.0.0.1", origins=["https://app.example/"])
    assert (guard.refusal(b"localhost:8080", origin) is None) is good


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """An application behind the guard."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"etag", b'"1"')]})
    await send({"type": "http.response.body", "body": b"hello"})


def guarded() -> Asker:
    """The application behind a guard that allows one other origin."""
    return Asker(Guarded(hello, HostGuard("127.0.0.1", origins=["https://app.example"]), counting_ids()))


def test_refusals_are_problems() -> None:
    """The application is not reached."""
    refused = guarded()("GET", "/x", headers={"host": "evil.example"})
    assert refused.status_code == 403
    assert refused.json()["where"] == "Host"
    assert guarded()("GET", "/x").text == "hello"


def test_a_listed_origin_gets_what_its_browser_asks_for() -> None:
    """Preflight and answers carry the headers of CORS, for that origin only."""
    origin = {"origin": "https://app.example"}
    preflight = guarded()("OPTIONS", "/x", headers={**origin, "access-control-request-method": "POST"})
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == "https://app.example"
    answer = guarded()("GET", "/x", headers=origin)
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert answer.headers["vary"] == "origin"
    assert "access-control-allow-origin" not in guarded()("GET", "/x").headers


def test_two_hosts_in_one_request_are_refused() -> None:
    """Which one counts would be a guess."""

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app=Guarded(hello, HostGuard("127.0.0.1"), counting_ids()))
        async with httpx.AsyncClient(transport=transport) as client:
            request = httpx.Request("GET", "http://localhost/", headers=[("host", "localhost"), ("host", "evil")])
            return await client.send(request)

    assert asyncio.run(send()).status_code == 400
