"""What a node keeps in memory while snapshots come and go."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

from kaname.models.importing.process import reprofile
from kaname.models.registry import Models
from kaname.serving.node import Alone
from tests.serving.world import START_S, Client, Response, World, import_made

ROW = b'{"features": {"length": 1, "width": 2, "petals": 3, "colour": "red"}}'


class Slow(Alone):
    """A change that is activated while this worker still waits for the others."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.go.set()

    def wait_turn(self, number: int, timeout_s: float) -> bool:
        return self.go.wait(5)


def _ask(world: World, version: str) -> Response:
    head = b"POST /api/v1/models/flowers/versions/%b/predict HTTP/1.1\r\nHost: localhost\r\n" % version.encode()
    head += b"Authorization: Bearer %b\r\nContent-Length: %d\r\n\r\n" % (world.key.encode(), len(ROW))
    with Client(world.addresses["own"]) as client:
        client.send(head + ROW)
        return client.answer()


def test_a_version_asked_for_by_name_at_the_switch_stays_in_memory(tmp_path: Path) -> None:
    """It is superseded in the same instant; the requests that name it do not load it over and over again."""
    with World(tmp_path) as world:
        node, stores = world.plane.node, world.stores
        work = tmp_path / ".kaname" / "work"
        models = Models(stores.database, stores.artefacts, world.clock, import_made, work, reprofile)
        models.add("flowers", tmp_path / "kaname.yaml", who="test", version="third")
        models.promote("flowers", "next", who="test")
        assert world.plane.settled(models.seq(), START_S) == []
        slow = Slow()
        slow.prepared(models.seq())

        def hold() -> None:
            node._progress = slow
            node.gate.activated = slow.activated
            slow.go.clear()

        world.on_loop(hold)
        models.promote("flowers", "third", who="test")
        until = time.monotonic() + START_S
        while not world.on_loop(lambda: node.gate.switching):
            assert time.monotonic() < until
        assert _ask(world, "1").status == 200
        slow.go.set()
        asyncio.run_coroutine_threadsafe(node.settle(), node.loop).result(START_S)
        loads = node.residency.loads
        for _ in range(3):
            assert _ask(world, "1").status == 200
        assert node.residency.loads == loads
