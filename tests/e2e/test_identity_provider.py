"""Tokens of a real identity provider: of each algorithm, over a rotation of its keys, and while it is down."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from kaname.access import jose
from tests.e2e.conftest import Serve
from tests.e2e.server import Server, tail
from tests.processes import until
from tests.provider import Provider

pytestmark = pytest.mark.slow


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Provider]:
    """Not started yet."""
    folder = tmp_path / "provider"
    folder.mkdir()
    made = Provider(folder)
    yield made
    made.stop()


def trusting(provider: Provider) -> dict[str, str]:
    """A server that finds the keys by the issuer's own metadata."""
    issuer = {"name": "idp", "issuer": provider.url, "audience": ["kaname"], "refresh_ms": 1000}
    return {"KANAME_ACCESS__TOKENS": json.dumps([issuer])}


def accepted(server: Server, token: str) -> bool:
    """Whether a token opens the door; 503 asks to come again in a moment."""
    return server.predict(key=token).status_code == 200


def test_tokens_of_every_algorithm_over_rotations_and_an_outage(serve: Serve, provider: Provider) -> None:
    """RS256, ES256, EdDSA; new keys are found, old ones forgotten; all goes on without the issuer, restarts too."""
    keys = [jose.new_key(algorithm) for algorithm in jose.ALGORITHMS]
    provider.start("RS256", keys)
    server = serve(workers=2, **trusting(provider))
    first = provider.token()
    assert accepted(server, first)
    assert server.predict(key=provider.token("read")).status_code == 403
    with server.client(first) as client:
        assert client.get("/api/v1/keys").status_code == 403
    for algorithm in ("ES256", "EdDSA"):
        provider.start(algorithm, keys)
        assert accepted(server, provider.token())
    provider.start("ES256", [jose.new_key("ES256")])
    rotated = provider.token()
    until(lambda: all(accepted(server, rotated) for _ in range(8)), "the new key is known to every worker")
    assert not accepted(server, first)
    provider.stop()
    before = server.pids()
    server.signal(signal.SIGHUP)
    until(lambda: len(server.pids()) == 2 and not before & server.pids(), "the workers are replaced", 60.0)
    assert all(accepted(server, rotated) for _ in range(8))
    assert "cannot be read" in server.log()
    assert {event["key_id"] for event in tail(server)} == {"idp:shop"}
    assert rotated not in server.log()


def test_a_server_that_starts_before_its_issuer_waits_for_the_keys(serve: Serve, provider: Provider) -> None:
    """It serves API keys, asks those with tokens to come again, and knows them once the issuer is there."""
    server = serve(**trusting(provider))
    assert accepted(server, server.admin)
    provider.start("EdDSA", [jose.new_key("EdDSA")])
    token = provider.token()
    answer = server.predict(key=token)
    assert answer.status_code in (200, 503), answer.text
    assert answer.status_code == 200 or "retry-after" in answer.headers
    until(lambda: accepted(server, token), "the keys are there", 30.0)
