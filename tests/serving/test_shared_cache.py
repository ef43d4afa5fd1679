"""Two real servers that share answers through a real Redis, which is then frozen and killed under their hands."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kaname.errors import InvalidInput
from kaname.project import load_valid
from kaname.storage.shared.opened import open_store
from kaname.stores import Stores
from tests.processes import until
from tests.redis_servers import RedisServer
from tests.serving.fleets import Node, fleet_of_two

SHARED = 'kaname_cache_requests_total{model="iris",result="shared"'


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[RedisServer, Node, Node]]:
    """A Redis and two nodes whose model keeps answers."""

    def prepare(stores: Stores) -> None:
        stores.models.override("iris", {"cache.enabled": True}, who="test")

    with fleet_of_two(tmp_path, monkeypatch, prepare) as made:
        yield made


@pytest.mark.slow
def test_an_answer_travels_and_a_redis_that_freezes_or_dies_costs_latency_only(
    fleet: tuple[RedisServer, Node, Node],
) -> None:
    """What one node computed the other answers; frozen and killed, all are answered, soon as fast as before."""
    redis, one, other = fleet
    rows = iter(range(10_000))

    def travels() -> bool:
        """Whether an answer of the one has been given by the other."""
        row, before = [float(next(rows)), 0.0, 0.0, 0.0], other.metric(SHARED)
        one.ask(row)
        return other.ask(row)[1] and other.metric(SHARED) == before + 1

    until(travels, "an answer travels")
    redis.freeze()
    for i in range(60):
        assert other.ask([float(i), 1.0, 1.0, 1.0])[0] < 2
    took = sorted(other.ask([float(i), 2.0, 2.0, 2.0])[0] for i in range(50))
    assert took[25] < 0.05, "still waiting for a store that does not answer"
    redis.kill()
    for i in range(20):
        assert one.ask([float(i), 3.0, 3.0, 3.0])[0] < 2
    redis.start()
    until(lambda: not one.metric("kaname_shared_open") + other.metric("kaname_shared_open"), "Redis is used again")
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
