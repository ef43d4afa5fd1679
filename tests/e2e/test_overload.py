"""A server that is asked for more than it can answer, over real connections."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Self

import httpx
import pytest

from benchmarks.openloop import encode
from benchmarks.pressure import drive
from benchmarks.request import json_request
from tests.e2e import sleepers
from tests.e2e.conftest import Serve
from tests.e2e.server import Server
from tests.processes import until

pytestmark = [pytest.mark.slow, pytest.mark.serial]
CAPACITY_PER_S = 1 / sleepers.RUN_S
PREDICT = "/api/v1/models/sleeper/predict"
ROW = {"features": {"x": 1.5}}


@pytest.fixture
def server(project: Path, serve: Serve) -> Server:
    """A server whose model answers a request per `RUN_S`, and takes 50 ms of waiting for too much."""
    sleepers.add(project, "limits.patience_ms=50")
    return serve()


def _key(server: Server, *options: str) -> str:
    ran = server.run("key", "create", "--scope", "predict:*", "--json", *options)
    key: str = json.loads(ran.out)["key"]
    return key


class Clients:
    """Threads that each ask again as soon as they were answered or refused; counts statuses."""

    def __init__(self, server: Server, key: str, count: int, **headers: str) -> None:
        self._server, self._key, self._headers = server, key, headers
        self._over = threading.Event()
        self.statuses: Counter[int] = Counter()
        self.refused: httpx.Response | None = None
        self._threads = [threading.Thread(target=self._ask) for _ in range(count)]

    def _ask(self) -> None:
        with self._server.client(self._key) as client:
            while not self._over.is_set():
                answer = client.post(PREDICT, json=ROW, headers=self._headers)
                self.statuses[answer.status_code] += 1
                if answer.status_code == 503:
                    self.refused = answer

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)


def _reached(clients: Clients, status: int, count: int) -> Callable[[], bool]:
    return lambda: clients.statuses[status] >= count


def _share(clients: Clients) -> float:
    return clients.statuses[200] / clients.statuses.total()


def test_a_greedy_client_does_not_starve_another(server: Server) -> None:
    """Beside 32 connections of one key that never pause, a client with another key is answered nearly every time; the
    clients share the machine with the server, so that some requests come late through no fault of the queue."""
    greedy, modest = _key(server), _key(server)
    with Clients(server, greedy, 32) as many:
        until(_reached(many, 503, 20), "the greedy one is refused")
        with Clients(server, modest, 1) as one:
            until(lambda: one.statuses.total() >= 60, "the modest one has asked", 60.0)
    assert _share(one) >= max(0.7, 4 * _share(many)), (one.statuses, many.statuses)
    assert many.statuses[200] > 0


def test_low_priority_is_shed_first(server: Server) -> None:
    """Of one key's requests those that say `x-priority: low` give way; they are still answered now and then."""
    key = _key(server, "--priority", "high")
    with Clients(server, key, 24, **{"x-priority": "low"}) as low:
        until(_reached(low, 503, 20), "the low ones are refused")
        with Clients(server, key, 2) as high:
            until(lambda: high.statuses.total() >= 100, "the high ones have asked", 60.0)
    assert _share(high) >= max(0.7, 4 * _share(low)), (high.statuses, low.statuses)
    assert low.statuses[200] > 0


def test_at_five_times_the_capacity_it_answers_what_it_can(server: Server) -> None:
    """Goodput stays near the capacity and accepted answers stay quick; `make bench-overload` has exact figures."""
    request = json_request(PREDICT, ROW).with_headers(("Authorization", f"Bearer {_key(server)}"))
    wire = encode(server.port, request)

    def load(times: float) -> dict[str, float]:
        rate = times * CAPACITY_PER_S
        return asyncio.run(
            drive(server.port, wire, rate_per_s=rate, seconds=2, connections=64, warm_s=1, in_time_ms=100)
        )

    alone, crowded = load(0.2), load(5.0)
    assert crowded["good_per_s"] >= 0.6 * CAPACITY_PER_S, crowded
    assert crowded["p50_ms"] <= 3 * alone["p50_ms"] + 2, (alone, crowded)
    assert crowded["refused_per_s"] > CAPACITY_PER_S


def test_a_refusal_says_when_to_come_back(server: Server) -> None:
    """503 with Retry-After, counted by the metrics."""
    with Clients(server, server.admin, 32) as many:
        until(_reached(many, 503, 5), "somebody is refused")
    refused = many.refused
    assert refused is not None
    assert refused.headers["retry-after"] == "1"
    assert refused.json()["code"] == "overloaded"
    with server.client() as client:
        lines = client.get("/metrics").text.splitlines()
    counted = next(line for line in lines if 'code="overloaded"' in line and 'model="sleeper"' in line)
    assert float(counted.rsplit(" ", 1)[1]) >= 5


def test_an_unknown_priority_is_refused(server: Server) -> None:
    """A mistyped level is told, with those that there are."""
    with server.client() as client:
        answer = client.post(PREDICT, json=ROW, headers={"x-priority": "urgent"})
    assert (answer.status_code, answer.json()["where"]) == (400, "x-priority")
    assert "critical" in answer.json()["expected"]
