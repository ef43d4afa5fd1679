"""A remote that hangs: its callers are refused early, and nobody else is concerned."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.server import Server
from tests.e2e.test_remote import add, describe
from tests.processes import until
from tests.runtimes.remote.peer import Gate, Peer

pytestmark = pytest.mark.slow
CONNECTIONS = 4
CLIENTS = 60
URL = "/v2/models/far/infer"
BODY = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.5, -0.1]}]}


def test_a_remote_that_hangs_is_not_waited_for(project: Path) -> None:
    """While it answers nothing those who wait are let go after the patience, and one may wait for its own time; another
    model answers as ever; what the remote has is answered when it goes on, and then so is everything."""
    gate = Gate()
    with Peer() as peer, ThreadPoolExecutor(CLIENTS) as pool:
        add(project, describe(project, peer.url, model="m", connections=CONNECTIONS))
        with Server(project) as near, near.client() as client:

            def ask(timeout_ms: int = 20_000) -> int:
                headers = {"x-request-timeout-ms": str(timeout_ms)}
                return client.post(URL, json=BODY, headers=headers, timeout=30).status_code

            until(lambda: ask() == 200, "the remote answers")
            peer.step = gate
            crowd = [pool.submit(ask) for _ in range(CLIENTS)]
            until(lambda: gate.inside == CONNECTIONS, "its connections are busy")
            until(lambda: sum(one.done() for one in crowd) == CLIENTS - CONNECTIONS, "those who waited are let go")
            until(lambda: ask(timeout_ms=50) == 504, "one that waits is let go when its time is over")
            assert near.predict("iris").status_code == 200
            gate.open.set()
            statuses = Counter(one.result() for one in crowd)
            assert set(statuses) == {200, 503}
            assert statuses[200] == CONNECTIONS
            assert [ask() for _ in range(20)] == [200] * 20
            assert 'kaname_requests_total{code="overloaded",model="far"' in client.get("/metrics").text
