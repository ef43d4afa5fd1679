"""Several nodes on one database: they change their minds together, and outlive each other and the database."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.databases import PASSWORD, mariadb_server, postgres_server
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import STEPS
from tests.e2e.load import Load, never_back
from tests.e2e.server import Server
from tests.processes import until

pytestmark = [pytest.mark.slow, pytest.mark.serial]
SERVERS = {"postgresql": postgres_server, "mariadb": mariadb_server}
ROW = [1.0, 2.0]
SKEW_S = 0.010


@pytest.fixture(params=["postgresql"])
def cluster(request: pytest.FixtureRequest, tmp_path: Path, stepped: Path) -> Iterator[Cluster]:
    with SERVERS[request.param]() as database:
        made = Cluster(database, tmp_path, stepped)
        yield made
        made.close()


@pytest.mark.parametrize("cluster", SERVERS, indirect=True)
def test_a_user_who_goes_round_the_nodes_never_sees_new_then_old(cluster: Cluster) -> None:
    """Versions are promoted on one node and on the other: once any answer of a version has come from anywhere, no
    request that is sent 10 ms later, to whichever node, is answered by the one before; and none fails."""
    one, two = cluster.node("first", workers=2), cluster.node("second")
    with Load(one, "steps", ROW, kept=2) as first, Load(two, "steps", ROW, kept=2) as second:
        for number, version in enumerate(STEPS[1:5]):
            _promote((one, two)[number % 2], version)
            first.more(30)
            second.more(30)
    assert first.lost == second.lost == []
    back = never_back([*first.answers, *second.answers], STEPS)
    assert [pair for pair in back if pair[1].sent > pair[0].done + SKEW_S] == []
    assert {answer.version for answer in second.answers} == set(STEPS[:5])


def test_a_change_that_loads_nothing_reaches_all_nodes_within_a_second(cluster: Cluster) -> None:
    """A key made on one node works on its workers within 200 ms and on the other node within a second; revoked, it
    stops as fast."""
    one, two = cluster.node("first", workers=2), cluster.node("second")
    with one.client() as admin:
        for _ in range(3):
            made = admin.post("/api/v1/keys", json={"name": "k", "scopes": ["predict:*"]}).json()
            began = time.monotonic()
            _asks(two, made["key"], 200)
            assert time.monotonic() - began < 1.0
            _asks(one, made["key"], 200)
            admin.delete(f"/api/v1/keys/{made['info']['id']}")
            began = time.monotonic()
            until(partial(_all_refuse, one, made["key"]), "every worker refuses it")
            assert time.monotonic() - began < 0.5
            _asks(two, made["key"], 401)
            assert time.monotonic() - began < 1.5


def _all_refuse(server: Server, key: str) -> bool:
    """Fresh connections reach all workers."""
    return all(server.predict("steps", key=key, features=ROW).status_code == 401 for _ in range(8))


def _asks(server: Server, key: str, status: int) -> None:
    until(lambda: server.predict("steps", key=key, features=ROW).status_code == status, f"{status} from {server.url}")


def test_nodes_are_listed_and_a_dead_one_is_not_waited_for_long(cluster: Cluster) -> None:
    """Both are ready; one is killed with all its processes: the next promotion names it or goes on without it, and it
    comes back to what answers now."""
    one, two = cluster.node("first"), cluster.node("second")
    until(lambda: [node["state"] for node in cluster.nodes()] == ["ready", "ready"], "both are ready")
    assert {node["address"] for node in cluster.nodes()} == {one.url, two.url}
    with one.client() as client:
        assert len(client.get("/api/v1/nodes").json()["items"]) == 2
    _kill(two)
    _promote(one, "2")
    assert one.predict("steps", features=ROW).json()["version"] == "2"
    until(lambda: sorted(node["state"] for node in cluster.nodes()) == ["gone", "ready"], "it is gone")
    again = cluster.node("second")
    assert again.predict("steps", features=ROW).json()["version"] == "2"
    until(lambda: [node["state"] for node in cluster.nodes()] == ["ready", "ready"], "both are ready")
    assert again.stop() == 0
    assert len(cluster.nodes()) == 1


def test_a_frozen_node_is_named_as_late(cluster: Cluster) -> None:
    """It holds its connections and does not answer: a promotion waits, then says whom it waited for."""
    one, two = cluster.node("first"), cluster.node("second")
    until(lambda: {node["address"] for node in cluster.nodes()} == {one.url, two.url}, "both are known")
    pids = {two.process.pid, *two.pids()}
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        with one.client() as client:
            answer = client.post("/api/v1/models/steps/versions/2/promote?wait_s=1")
        assert two.url in answer.text, answer.text
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    until(lambda: two.predict("steps", features=ROW).json()["version"] == "2", "it catches up", 40.0)


@pytest.mark.parametrize("cluster", SERVERS, indirect=True)
def test_predictions_outlive_the_database(cluster: Cluster) -> None:
    """The server is stopped under load: no prediction fails, a killed worker comes back from the snapshot on disk,
    changes are refused with 503 and a time to retry, a node starts without it. Once it is back all is well again."""
    one = cluster.node("first", workers=2)
    second = cluster.node("second")
    assert second.stop() == 0
    with Load(one, "steps", ROW, kept=2, fresh=1) as load:
        cluster.database.stop()
        load.more(100)
        victim = min(one.pids())
        os.kill(victim, signal.SIGKILL)
        until(lambda: len(one.pids()) == 2 and victim not in one.pids(), "a new worker", 40.0)
        load.more(100)
        with one.client() as client:
            refused = client.post("/api/v1/models/steps/versions/2/promote")
            assert refused.status_code == 503, refused.text
            assert refused.headers["content-type"] == "application/problem+json"
            assert int(refused.headers["retry-after"]) >= 1
            assert PASSWORD not in refused.text
            assert client.get("/health/ready").status_code == 200
        second = cluster.node("second")
        assert second.predict("steps", features=ROW).json()["version"] == "1"
        cluster.database.server.start()
        _eventually(lambda: _try_promote(one, "2"))
        load.more(50)
    assert load.lost == []
    until(lambda: second.predict("steps", features=ROW).json()["version"] == "2", "the other node hears of it")


def test_a_frozen_database_holds_up_changes_only(cluster: Cluster) -> None:
    """Its connections stay open and say nothing: predictions go on, a change is refused in time, then all is well."""
    one = cluster.node("first")
    with Load(one, "steps", ROW, kept=2) as load:
        cluster.database.freeze()
        with one.client() as client:
            refused = client.post("/api/v1/models/steps/versions/2/promote")
        assert refused.status_code == 503, refused.text
        load.more(100)
        cluster.database.thaw()
        _eventually(lambda: _try_promote(one, "2"))
        load.more(50)
    assert load.lost == []


def _promote(server: Server, version: str) -> None:
    with server.client() as client:
        answer = client.post(f"/api/v1/models/steps/versions/{version}/promote")
    assert answer.status_code == 200, answer.text


def _try_promote(server: Server, version: str) -> bool:
    with server.client() as client:
        return client.post(f"/api/v1/models/steps/versions/{version}/promote").status_code == 200


def _eventually(done: Callable[[], bool]) -> None:
    until(done, "changes are taken again", 30.0)


def _kill(server: Server) -> None:
    for pid in {server.process.pid, *server.pids()}:
        os.kill(pid, signal.SIGKILL)
    server.process.wait()
