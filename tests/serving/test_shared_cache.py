"""Two real servers that share answers through a real Redis, which is then frozen and killed under their hands."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from kaname.errors import InvalidInput
from kaname.project import load_valid
from kaname.storage.shared.opened import open_store
from tests.processes import until
from tests.redis_servers import RedisServer
from tests.serving.oip.conftest import Served, iris_model


class Node(Served):
    """A server of a fleet; its project is a copy of the first one's, as if both had one database."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.start()
        self.client = httpx.Client(base_url=f"http://{self.address}", headers=self.key("admin", "admin"))

    def ask(self, row: list[float]) -> tuple[float, bool]:
        """How long the answer took in seconds, and whether it came from a cache."""
        began = time.monotonic()
        answer = self.client.post("/api/v1/models/iris/predict", json={"instances": [row]})
        assert answer.status_code == 200, answer.text
        return time.monotonic() - began, "cache-status" in answer.headers

    def shared(self) -> float:
        """How many answers it has found where others put them."""
        wanted = 'kaname_cache_requests_total{model="iris",result="shared"'
        lines = self.client.get("/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(wanted))

    def close(self) -> None:
        self.client.close()
        self.stop()


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[RedisServer, Node, Node]]:
    """A Redis and two nodes."""
    with RedisServer(tmp_path / "redis") as redis:
        for name, value in (("REDIS_URL", redis.url), ("LOOKUP_MS", "20"), ("TIMEOUT_MS", "100")):
            monkeypatch.setenv(f"KANAME_SHARED__{name}", value)
        first = tmp_path / "first"
        first.mkdir()
        iris_model(first / "iris.onnx")
        made = Served(first)
        made.stores.models.add("iris", first / "iris.onnx", who="test")
        made.stores.models.override("iris", {"cache.enabled": True}, who="test")
        made.stores.close()
        made.socket.close()
        shutil.copytree(first, tmp_path / "second")
        nodes = Node(first), Node(tmp_path / "second")
        yield redis, *nodes
        for node in nodes:
            node.close()


@pytest.mark.slow
def test_an_answer_travels_and_a_redis_that_freezes_or_dies_costs_latency_only(
    fleet: tuple[RedisServer, Node, Node],
) -> None:
    """What one node computed the other answers; frozen and killed, all are answered, soon as fast as before."""
    redis, one, other = fleet
    rows = iter(range(10_000))

    def travels() -> bool:
        """Whether an answer of the one has been given by the other."""
        row, before = [float(next(rows)), 0.0, 0.0, 0.0], other.shared()
        one.ask(row)
        return other.ask(row)[1] and other.shared() == before + 1

    until(travels, "an answer travels")
    redis.freeze()
    for i in range(60):
        assert other.ask([float(i), 1.0, 1.0, 1.0])[0] < 2
    took = sorted(other.ask([float(i), 2.0, 2.0, 2.0])[0] for i in range(50))
    assert took[25] < 0.015, "still waiting for a store that does not answer"
    redis.kill()
    for i in range(20):
        assert one.ask([float(i), 3.0, 3.0, 3.0])[0] < 2
    redis.start()
    open_ = "kaname_shared_open 0"
    until(lambda: all(open_ in node.client.get("/metrics").text for node in (one, other)), "Redis is used again")
    until(travels, "an answer travels again")


def test_a_bad_address_is_refused_before_anything_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting is named, its password is not."""
    monkeypatch.setenv("KANAME_SHARED__REDIS_URL", "redis+ring://:hidden@host")
    (tmp_path / "kaname.yaml").write_text("name: bad\n")
    shared = load_valid(tmp_path, os.environ).settings.shared
    assert "hidden" not in repr(shared)
    with pytest.raises(InvalidInput, match="not an address") as caught:
        open_store(shared)
    assert caught.value.where == "shared.redis_url"
    assert "hidden" not in str(caught.value)
