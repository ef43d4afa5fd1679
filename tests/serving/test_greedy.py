"""Connections that do not heed refusals."""

from __future__ import annotations

import json
import time
from pathlib import Path

from tests.serving.world import Client, World

BODY = json.dumps({"instances": [[1, 2, 3, "red"]]}).encode()


def _request(world: World) -> bytes:
    head = (
        f"POST /api/v1/models/flowers/predict HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {world.key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(BODY)}\r\n\r\n"
    )
    return head.encode() + BODY


def _refuse_all(world: World) -> None:
    """From now on the model takes no request at all."""
    admission = world.plane.node.admission_of(world.plane.node.version("flowers", None))
    admission._going = 10**9


def _ask(client: Client, world: World) -> int:
    client.send(_request(world))
    return client.answer().status


def test_a_connection_that_goes_on_asking_is_not_read_for_a_while(tmp_path: Path) -> None:
    """The refusals of a client that asks without a pause come no faster than the setting, and none is lost; one beside
    it is answered as before."""
    with World(tmp_path) as world:
        world.stores.models.override("flowers", {"limits.concurrency": 1}, who="test")
        assert world.plane.settled(world.stores.models.seq(), 10) == []
        world.on_loop(lambda: _refuse_all(world))
        with Client(world.addresses["own"]) as greedy, Client(world.addresses["own"]) as calm:
            began = time.monotonic()
            assert {_ask(greedy, world) for _ in range(80)} == {503}
            assert time.monotonic() - began > 0.4, "25 in a quarter of a second"
            assert _ask(calm, world) == 503
