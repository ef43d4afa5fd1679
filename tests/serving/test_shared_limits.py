"""Limits that two real servers enforce together through one real Redis, also when that dies and comes back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from kaname.access.drawing import AHEAD_S
from kaname.stores import Stores
from tests.processes import until
from tests.redis_servers import RedisServer
from tests.serving.fleets import Node, fleet_of_two

RATE = 100
ROW = [1.0, 2.0, 3.0, 4.0]


class Fleet:
    """Two nodes with a limited key, a tenant's two keys, and a limited model."""

    redis: RedisServer
    nodes: tuple[Node, Node]

    def prepare(self, stores: Stores) -> None:
        def made(name: str, tenant: str | None = None, rate: float | None = None) -> str:
            key = stores.keys.create(name, ("predict:*",), who="test", rate_rows_per_s=rate, tenant=tenant)[1]
            return f"Bearer {key}"

        stores.tenants.set("shop", who="test", rows_per_day=90)
        stores.tenants.set("lab", who="test", rate_rows_per_s=RATE)
        self.limited = made("limited", rate=RATE)
        self.shop = made("one", "shop"), made("two", "shop")
        self.lab = made("three", "lab"), made("four", "lab")

    def granted(self, keys: tuple[str, str], seconds: float) -> tuple[int, float]:
        """Rows that both nodes grant while each is asked as fast as may be, and how long that took."""
        counts, until_s, began = [0, 0], time.monotonic() + seconds, time.monotonic()

        def hammer(at: int) -> None:
            while time.monotonic() < until_s:
                status = self.nodes[at].predict(ROW, 4, authorization=keys[at]).status_code
                assert status in (200, 429)
                counts[at] += 4 * (status == 200)

        threads = [threading.Thread(target=hammer, args=(at,)) for at in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(counts), time.monotonic() - began


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    fleet = Fleet()
    folder = tmp_path_factory.mktemp("fleet")
    with pytest.MonkeyPatch.context() as patch, fleet_of_two(folder, patch, fleet.prepare) as (redis, one, other):
        fleet.redis, fleet.nodes = redis, (one, other)
        yield fleet


AHEAD = 2 * int(RATE * AHEAD_S)


@pytest.mark.slow
@pytest.mark.parametrize("whose", ["key", "tenant"])
def test_two_servers_never_grant_more_than_the_limit_and_what_they_hold(fleet: Fleet, whose: str) -> None:
    """A key, and the keys of a tenant: rate × time + burst + what is drawn ahead; and most of it is granted."""
    keys = (fleet.limited, fleet.limited) if whose == "key" else fleet.lab
    granted, took_s = fleet.granted(keys, 2.0)
    assert granted <= RATE * took_s + RATE + AHEAD
    assert granted >= 0.5 * (RATE * 2.0 + RATE)


@pytest.mark.slow
def test_a_day_of_a_tenant_is_spent_by_all_its_keys_on_all_nodes(fleet: Fleet) -> None:
    """Ninety rows, whoever asks and wherever; then 429 that names the tenant, and the list says what was used."""
    one, other = fleet.nodes
    for at in range(9):
        assert fleet.nodes[at % 2].predict(ROW, 10, authorization=fleet.shop[at % 2]).status_code == 200
    for node, key in ((one, fleet.shop[1]), (other, fleet.shop[0])):
        refused = node.predict(ROW, authorization=key)
        problem = refused.json()
        assert (refused.status_code, problem["where"], problem["code"]) == (429, "tenant shop", "rate_limited")
        assert "daily quota" in problem["detail"]
        assert 0 < int(refused.headers["retry-after"]) <= 86_400
    for node in fleet.nodes:
        shop = node.client.get("/api/v1/tenants/shop").json()
        assert (shop["rows_per_day"], shop["rows_today"]) == (90, 90)
        listed = node.client.get("/api/v1/tenants").json()["items"]
        assert [tenant["name"] for tenant in listed] == ["lab", "shop"]


@pytest.mark.slow
def test_the_limit_of_a_model_is_one_for_the_fleet(fleet: Fleet) -> None:
    """Ten rows per second: what the one node grants is missing for the other."""
    for node in fleet.nodes:
        node.stores.models.override("iris", {"limits.rate_rows_per_s": 10}, who="test")
        assert node.plane.settled(node.stores.models.seq(), 30) == []
    one, other = fleet.nodes
    assert one.predict(ROW, 10).status_code == 200
    refused = other.predict(ROW, 9)
    assert (refused.status_code, refused.json()["where"]) == (429, "model")
    assert 0.3 < refused.json()["retry_after_s"] <= 0.9
    for node in fleet.nodes:
        node.stores.models.override("iris", {}, unset=["limits.rate_rows_per_s"], who="test")
        assert node.plane.settled(node.stores.models.seq(), 30) == []


@pytest.mark.slow
def test_without_redis_each_node_enforces_the_limit_by_itself_until_it_is_back(fleet: Fleet) -> None:
    """Killed: at most the limit per node, and nobody fails; back: the limit is one again."""
    keys = fleet.limited, fleet.limited
    fleet.redis.kill()
    granted, took_s = fleet.granted(keys, 2.0)
    assert RATE * took_s < granted <= 2 * (RATE * took_s + 2 * RATE)
    fleet.redis.start()
    until(lambda: not any(node.metric("kaname_shared_open") for node in fleet.nodes), "Redis is used again")
    fleet.granted(keys, 0.5)  # what the nodes had left of their own, and the burst of the new bucket
    granted, took_s = fleet.granted(keys, 2.0)
    assert granted <= RATE * took_s + RATE + AHEAD
