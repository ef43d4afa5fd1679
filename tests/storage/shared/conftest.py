"""Shared stores of every kind, real servers behind them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kaname.clock import SystemClock
from kaname.storage.shared.address import parse
from kaname.storage.shared.memory import MemoryStore
from kaname.storage.shared.redis import RedisStore
from kaname.storage.shared.types import SharedStore
from tests.redis_servers import RedisServer, cluster, watched_master

TIMEOUT_MS = 200.0


def redis_store(url: str, prefix: str = "test:", timeout_ms: float = TIMEOUT_MS) -> RedisStore:
    """A store at a URL."""
    return RedisStore(parse(url, "test"), prefix=prefix, timeout_ms=timeout_ms)


@pytest.fixture(scope="package")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A running Redis of each kind."""
    folder = tmp_path_factory.mktemp("redis")
    with (
        RedisServer(folder / "one") as one,
        watched_master(folder / "watched") as (_, _, watched),
        cluster(folder / "cluster") as (_, many),
    ):
        yield {"single": one.url, "sentinel": watched, "cluster": many}


@pytest.fixture(params=["memory", "single", "sentinel", "cluster"])
def store(request: pytest.FixtureRequest) -> Iterator[SharedStore]:
    """A store of each kind, empty as far as the test is concerned."""
    if request.param == "memory":
        yield MemoryStore(SystemClock())
        return
    url = request.getfixturevalue("urls")[request.param]
    made = redis_store(url, f"{request.node.name}:")
    yield made
    made.close()
