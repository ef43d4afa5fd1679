"""The prediction record after deaths: what was acknowledged is on disk, as late as promised and no later."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.e2e.conftest import Serve
from tests.e2e.load import Answer, Load
from tests.e2e.server import ROW, Server, tail
from tests.processes import until

pytestmark = [pytest.mark.slow, pytest.mark.serial]

WINDOW_S = 0.05
"""The longest that an acknowledged answer may be without its event on disk."""


def _recorded(server: Server) -> set[str]:
    return {event["request_id"] for event in tail(server)}


def _missing(answers: list[Answer], recorded: set[str], before: float) -> list[Answer]:
    return [answer for answer in answers if answer.done < before and answer.request_id not in recorded]


def _before(load: Load, moment: float) -> int:
    return sum(answer.done < moment for answer in list(load.answers))


@pytest.mark.parametrize("whom", ["worker", "everybody"])
def test_kill_9_loses_nothing_older_than_the_commit_window(serve: Serve, whom: str) -> None:
    """Under load, one worker or the whole server is killed: every answer that came 50 ms before is in the record."""
    server = serve(workers=2)
    with Load(server, "iris", ROW, kept=3, fresh=1) as load:
        load.more(300)
        until(lambda: _before(load, time.monotonic() - WINDOW_S) >= 100, "answers that the window promises")
        victims = server.pids() if whom == "everybody" else {min(server.pids())}
        load.expect_down()
        if whom == "everybody":
            server.process.kill()
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        if whom == "worker":
            load.more(100)
    server.process.poll()
    recorded = _recorded(server)
    # Of a worker that lives on, everything is recorded shortly after; of a killed one, what the window promises.
    assert _missing(load.answers, recorded, killed - WINDOW_S) == []
    assert _before(load, killed - WINDOW_S) >= 100


def test_block_acknowledges_only_what_is_on_disk(serve: Serve) -> None:
    """With the policy `block`, not one answer that any client received is missing after a kill -9."""
    server = serve(workers=2)
    server.run("model", "set", "iris", "record.policy=block")
    until(lambda: _policy(server) == "block", "the policy is in force")
    with Load(server, "iris", ROW, kept=3, fresh=1) as load:
        load.more(200)
        load.expect_down()
        pids = server.pids()
        server.process.kill()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
    server.process.poll()
    recorded = _recorded(server)
    assert [answer for answer in load.answers if answer.request_id not in recorded] == []


def _policy(server: Server) -> str:
    with server.client() as client:
        return str(client.get("/api/v1/models/iris/config").json()["record"]["policy"])


def test_one_tail_shows_the_predictions_of_all_workers_in_order(serve: Serve) -> None:
    """Events of several writers are merged by time; what is redacted is not on the disk at all."""
    with serve(workers=2) as server:
        ids = [server.predict().json()["request_id"] for _ in range(24)]
        until(lambda: set(ids) <= _recorded(server), "all are recorded")
        times = [event["time_us"] for event in tail(server)]
        assert times == sorted(times)
        slots = [folder for folder in (server.project / ".kaname" / "events").iterdir() if folder.is_dir()]
        assert len(slots) >= 2

        server.run("model", "set", "iris", 'record.redact=["input"]')
        secret = {"input": [4.625, 3.5, 1.4, 0.2]}

        def redacted() -> bool:
            found = server.predict(features=secret).json()["request_id"]
            event = until(lambda: [e for e in tail(server) if e["request_id"] == found], "recorded")[0]
            return bool(event["inputs"] == {} or event["inputs"].get("input") is None)

        until(redacted, "the input is redacted", 10.0)
