"""Two real servers on one real Redis: their projects are copies, as if both had one database."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from kaname.stores import Stores
from tests.redis_servers import RedisServer
from tests.serving.oip.conftest import Served, iris_model


class Node(Served):
    """A server of a fleet."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.start()
        self.client = httpx.Client(base_url=f"http://{self.address}", headers=self.key("admin", "admin"), timeout=30)

    def predict(self, row: list[float], rows: int = 1, **headers: str) -> httpx.Response:
        """What it answers to so many equal rows."""
        return self.client.post("/api/v1/models/iris/predict", json={"instances": [row] * rows}, headers=headers)

    def ask(self, row: list[float]) -> tuple[float, bool]:
        """How long the answer took in seconds, and whether it came from a cache."""
        began = time.monotonic()
        answer = self.predict(row)
        assert answer.status_code == 200, answer.text
        return time.monotonic() - began, "cache-status" in answer.headers

    def metric(self, start: str) -> float:
        """The sum of the series whose names and labels begin so."""
        lines = self.client.get("/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(start))

    def close(self) -> None:
        self.client.close()
        self.stop()


@contextmanager
def fleet_of_two(
    folder: Path, monkeypatch: pytest.MonkeyPatch, prepare: Callable[[Stores], None]
) -> Iterator[tuple[RedisServer, Node, Node]]:
    """A Redis and two nodes with a model; `prepare` does what both projects have in common."""
    with RedisServer(folder / "redis") as redis:
        for name, value in (("REDIS_URL", redis.url), ("LOOKUP_MS", "50"), ("TIMEOUT_MS", "100")):
            monkeypatch.setenv(f"KANAME_SHARED__{name}", value)
        first = folder / "first"
        first.mkdir()
        iris_model(first / "iris.onnx")
        made = Served(first)
        made.stores.models.add("iris", first / "iris.onnx", who="test")
        prepare(made.stores)
        made.stores.close()
        made.socket.close()
        shutil.copytree(first, folder / "second")
        nodes = Node(first), Node(folder / "second")
        try:
            yield redis, *nodes
        finally:
            for node in nodes:
                node.close()
