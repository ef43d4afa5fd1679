"""Several workers under one supervisor: nothing is lost while they come and go; they change their minds together."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from kaname.project import load_valid
from kaname.stores import Stores
from tests.e2e.conftest import STEPS, Serve
from tests.e2e.load import Load, never_back
from tests.e2e.server import Server, predict
from tests.processes import until

pytestmark = [pytest.mark.slow, pytest.mark.serial]


def _promote(server: Server, version: str, model: str = "steps") -> None:
    with server.client() as client:
        answer = client.post(f"/api/v1/models/{model}/versions/{version}/promote")
    assert answer.status_code == 200, answer.text


def test_nothing_is_lost_over_promotes_rolling_restarts_and_the_end(steps: Path, serve: Serve) -> None:
    """Kept, fresh and pipelined clients lose no request while versions change, all workers are replaced, and the
    server drains; and no client ever sees a new version and then an old one."""
    server = serve(workers=2)
    with Load(server, "steps", [1.0, 2.0], kept=2, fresh=1, piped=1) as load:
        before = server.pids()
        server.signal(signal.SIGHUP)
        for version in STEPS[1:]:
            _promote(server, version)
            load.more(20)
        until(lambda: len(server.pids()) == 2 and not server.pids() & before, "all workers are new", 60.0)
        load.more()
        load.expect_down()
        assert server.stop() == 0
    assert load.lost == []
    assert {answer.version for answer in load.answers} == set(STEPS)
    assert never_back(load.answers, STEPS) == []


def test_all_workers_switch_at_one_instant(steps: Path, serve: Serve) -> None:
    """Once any answer of a promoted version has come, no request that is sent later is answered by the one before."""
    with serve(workers=2) as server, Load(server, "steps", [1.0, 2.0], kept=6, fresh=1) as load:
        for version in STEPS[1:]:
            _promote(server, version)
            load.more(30)
    assert load.lost == []
    assert never_back(load.answers, STEPS) == []


def test_a_rollback_reaches_every_worker_within_200_ms(steps: Path, serve: Serve) -> None:
    """The version before is still in memory: 200 ms after the command line wrote it, nobody answers otherwise."""
    with serve(workers=2) as server:
        _promote(server, "2")
        with Load(server, "steps", [1.0, 2.0], kept=4, fresh=1) as load:
            stores = Stores(load_valid(server.project, {}))
            stores.models.rollback("steps", who="test")
            written = time.monotonic()
            stores.close()
            while time.monotonic() < written + 0.5:
                load.more(20)
    late = [answer for answer in load.answers if answer.version == "2" and answer.sent > written + 0.2]
    assert late == []
    assert {answer.version for answer in load.answers} == {"1", "2"}


def test_a_killed_worker_costs_only_what_it_had_in_hand(steps: Path, serve: Serve) -> None:
    """kill -9 of one of two: its connections break without half an answer, nobody is refused, it comes back."""
    with serve(workers=2) as server, Load(server, "steps", [1.0, 2.0], kept=4, fresh=1) as load:
        victim = min(server.pids())
        os.kill(victim, signal.SIGKILL)
        load.more(100)
        until(lambda: len(server.pids()) == 2 and victim not in server.pids(), "a new worker is there")
        load.more()
    assert load.lost == []
    assert load.retried <= 6  # one request per connection, and those that waited to be accepted


LETHAL = """
import os
from pathlib import Path
import numpy as np

class Lethal:
    signature = {"inputs": [{"name": "x", "datatype": "FP64", "shape": [-1, 2]}],
                 "outputs": [{"name": "y", "datatype": "FP64", "shape": [-1, 1]}]}

    def load(self, folder):
        if Path(%r).exists():
            os._exit(9)

    def predict(self, batch):
        return np.zeros((len(batch["x"]), 1))
"""


def test_a_version_that_kills_workers_is_quarantined(project: Path, serve: Serve, tmp_path: Path) -> None:
    """After it ended workers twice while it was loaded, nobody loads it any more; other models answer all the time,
    because not all workers try it, and its own model says why it does not."""
    switch = tmp_path / "lethal"
    (tmp_path / "lethal.py").write_text(LETHAL % str(switch))
    with serve(workers=2) as server:
        added = server.kaname("model", "add", "lethal", tmp_path / "lethal.py", "--no-promote")
        assert added.code == 0, added.out + added.err
        switch.touch()
        before = server.pids()
        server.run("model", "promote", "lethal", "1")
        until(lambda: any("quarantine" in line["event"] for line in server.logged()), "quarantine", 60.0)
        until(lambda: len(server.pids()) == 2, "both workers are back", 60.0)
        pids = server.pids()
        assert pids & before, "all workers died of it"
        for _ in range(8):
            assert server.predict().json()["prediction"] == "setosa"
        refused = server.predict("lethal", features=[1, 2])
        assert refused.status_code == 503
        assert "quarantine" in refused.text
        assert server.pids() == pids
        with server.client() as client:
            assert client.get("/health/ready").status_code == 200


def test_a_version_that_cannot_load_is_unready_by_itself(steps: Path, serve: Serve) -> None:
    """Its artefact is damaged: its model says so, every other answers, also after a restart."""
    with serve() as server:
        with server.client() as client:
            artefact = client.get("/api/v1/models/steps/versions/3").json()["artefact"]
        file = steps / ".kaname" / "artefacts" / artefact / "model.onnx"
        file.chmod(0o600)
        file.write_bytes(b"damaged" + file.read_bytes()[7:])
        _promote(server, "3")
        assert server.predict("steps", features=[1, 2]).status_code == 503
        assert server.predict().status_code == 200
        with server.client() as client:
            assert client.get("/v2/models/steps/ready").status_code in (400, 503)
            assert client.get("/v2/models/iris/ready").status_code == 200
    with serve() as server:
        assert server.predict("steps", features=[1, 2]).status_code == 503
        assert server.predict().status_code == 200
        _promote(server, "4")
        assert server.predict("steps", features=[1, 2]).json()["version"] == "4"


def test_metrics_are_sums_over_workers_living_and_dead(project: Path, serve: Serve) -> None:
    """Whichever worker is asked counts all requests, those of a killed one included."""
    with serve(workers=2) as server:
        for _ in range(20):
            assert server.predict().status_code == 200
        until(lambda: _requests(server) == 20, "all are counted")
        os.kill(min(server.pids()), signal.SIGKILL)
        until(lambda: len(server.pids()) == 2, "a new worker")
        for _ in range(8):
            assert _requests(server) == 20


def _requests(server: Server) -> float:
    with server.client() as client:
        lines = client.get("/metrics").text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("kaname_requests_total{"))


def test_logs_are_json_lines_that_name_the_request(project: Path, serve: Serve) -> None:
    """On anything but a terminal each line of every process is one JSON object."""
    with serve(workers=2) as server:
        os.kill(min(server.pids()), signal.SIGKILL)
        until(lambda: any("unexpectedly" in line["event"] for line in server.logged()), "the death is logged")
    assert all({"event", "level", "timestamp"} <= line.keys() for line in server.logged())
    assert json.dumps(server.logged())


def test_a_superseded_version_leaves_memory(steps: Path, serve: Serve) -> None:
    """What answers and what a rollback returns to are kept; older ones are released after their last request."""
    with serve() as server, server.client() as client:
        for version in STEPS[1:]:
            _promote(server, version)
            assert predict(client, "steps", features=[1, 2]).json()["version"] == version
        listed = client.post("/v2/repository/index", json={"ready": True})
        assert listed.status_code == 200, listed.text
        ready = {
            entry.get("version") for entry in listed.json() if entry["name"] == "steps" and entry["state"] == "READY"
        }
        assert ready == {"7", "8"}


def test_the_rate_of_a_model_is_one_for_all_workers(steps: Path, serve: Serve) -> None:
    """Fresh connections reach both workers; together they grant what one would."""
    with closing(Stores(load_valid(steps, os.environ))) as stores:
        stores.models.override("steps", {"limits.rate_rows_per_s": 4}, who="test")
    fresh = httpx.Limits(max_keepalive_connections=0)
    with serve(workers=2) as server, server.client(limits=fresh) as client:
        began, granted = time.monotonic(), 0
        while time.monotonic() - began < 3:
            granted += predict(client, "steps", features=[1.0, 2.0]).status_code == 200
        took_s = time.monotonic() - began
    assert 4 * 3 <= granted <= 4 * took_s + 4 + 1
