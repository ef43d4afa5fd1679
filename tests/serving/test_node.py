"""What a node keeps in memory while snapshots come and go."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from kaname.cli.top.counts import parse
from kaname.models.importing.process import reprofile
from kaname.models.registry import Models
from kaname.serving.node import Alone
from kaname.telemetry.metrics import expose
from tests.processes import until
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
        until(lambda: world.on_loop(lambda: node.gate.switching), "the switch is near", START_S)
        assert _ask(world, "1").status == 200
        slow.go.set()
        asyncio.run_coroutine_threadsafe(node.settle(), node.loop).result(START_S)
        loads = node.residency.loads
        for _ in range(3):
            assert _ask(world, "1").status == 200
        assert node.residency.loads == loads


def test_a_version_that_is_archived_is_counted_no_longer(tmp_path: Path) -> None:
    """Its series leave the metrics; those of the others stay."""
    with World(tmp_path) as world:
        stores, folder = world.stores, world.stores.project.data / "metrics"
        models = Models(
            stores.database, stores.artefacts, world.clock, import_made, tmp_path / ".kaname" / "work", reprofile
        )
        assert _ask(world, "1").status == _ask(world, "next").status == 200
        before = parse(expose(folder))
        assert {version for model, version in before if model == "flowers"} >= {"1", "next"}
        models.promote("flowers", "next", who="test")
        models.archive("flowers", "1", who="test")
        assert world.plane.settled(models.seq(), START_S) == []
        until(lambda: ("flowers", "1") not in parse(expose(folder)), "its series are gone")
        after = parse(expose(folder))
        assert after["flowers", "next"]["kaname_requests_total", "ok"] == 1
        assert not {version for model, version in after if model == "flowers"} - {"next", ""}
