"""Requests whose heads are equal to the last byte: what was read in a head the first time holds every time."""

from __future__ import annotations

import gzip
import json

import pytest

from .conformance import GOOD, GOOD_CASES, V2, http
from .world import Client, World

FAULTS = {
    "a wrong content type": (http(GOOD, "content-type: text/csv"), 415),
    "a deadline that is none": (http(GOOD, "x-request-timeout-ms: soon"), 400),
    "an unknown encoding": (http(GOOD, "content-encoding: br"), 415),
    "a key for another model": (http(GOOD, target="/api/v1/models/pair/predict", key="poor"), 403),
    "an unknown key": (http(GOOD, key=None), 401),
    "no such version": (http(GOOD, target="/api/v1/models/flowers/versions/9/predict"), 404),
    "a compressed body": (http(gzip.compress(json.dumps(GOOD).encode(), mtime=0), "content-encoding: gzip"), 200),
    "the other protocol": (http({"inputs": []}, target=V2), 400),
}


@pytest.mark.parametrize("name", FAULTS)
def test_every_repetition_is_answered_like_the_first(world: World, name: str) -> None:
    """Three times on one connection and once on another: the same status and body, and a good request between them."""
    raw, status = FAULTS[name]
    for key in ("key", "poor"):
        raw = raw.replace(b"{%b}" % key.encode(), getattr(world, key).encode())
    good = GOOD_CASES[0].raw.replace(b"{key}", world.key.encode())
    first, second = Client(world.addresses["own"]), Client(world.addresses["own"])
    bodies = []
    for client in (first, first, first, second):
        client.send(raw)
        answer = client.answer()
        assert answer.status == status, answer.body
        bodies.append(answer.body.partition(b'"latency_ms"')[0])
        client.send(good)
        assert client.answer().status == 200
    assert len(set(bodies)) == 1
    first.close()
    second.close()
