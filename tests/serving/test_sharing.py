"""Browsers of other origins: predictions say who may read them, like every other answer."""

from __future__ import annotations

import pytest

from .conformance import GOOD, http
from .world import Client, World

PAGE = "https://shop.example"


@pytest.mark.parametrize("door", ["own", "asgi"])
def test_an_allowed_origin_may_read_predictions_and_their_refusals(world: World, door: str) -> None:
    """The same header lines at both doors, on good answers, on refused keys, and again for a head seen before."""
    client = Client(world.addresses[door])
    good = http(GOOD, f"origin: {PAGE}").replace(b"{key}", world.key.encode())
    bad = http(GOOD, f"origin: {PAGE}").replace(b"{key}", b"kn_none")
    for raw, status in ((good, 200), (bad, 401), (good, 200)):
        client.send(raw)
        answer = client.answer()
        assert answer.status == status
        assert answer.headers[b"access-control-allow-origin"] == PAGE.encode()
        assert b"x-request-id" in answer.headers[b"access-control-expose-headers"]
        assert answer.headers[b"vary"] == b"origin"
    client.close()


def test_no_other_origin_is_named(world: World) -> None:
    """A request without an origin owes nobody anything; one of a stranger is refused without being shared."""
    client = Client(world.addresses["own"])
    client.send(http(GOOD).replace(b"{key}", world.key.encode()))
    assert b"access-control-allow-origin" not in client.answer().headers
    client.send(http(GOOD, "origin: https://stranger.example").replace(b"{key}", world.key.encode()))
    refused = client.answer()
    assert refused.status == 403
    assert b"access-control-allow-origin" not in refused.headers
    client.close()
