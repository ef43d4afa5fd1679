"""What earlier releases left on the disk (`tests/earlier`, made by `make.py` there with their own code) is taken up
by this one: the database, the snapshot, keys, artefacts, the record, requests that wait."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.server import Server, tail
from tests.processes import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
ARCHIVES = sorted((Path(__file__).parents[1] / "earlier").glob("*.tar.xz"))
ROW = {"input": [5.1, 3.5, 1.4, 0.2]}


@pytest.fixture(params=ARCHIVES, ids=lambda path: path.name.partition(".")[0])
def earlier(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The project as an earlier release left it."""
    shutil.unpack_archive(request.param, tmp_path)
    return tmp_path / "project"


def told(project: Path) -> Any:
    """What was answered at the time: `key`, `answers` by request id, `later` what was put aside, by its id."""
    return json.loads((project / "told.json").read_text())


def check_answers(server: Server, said: Any) -> None:
    """The same question, with the key of the time, has the same answer."""
    answer = server.predict(key=said["key"], features=ROW)
    assert answer.status_code == 200, answer.text
    before = said["answers"]["earlier-0"]
    now = answer.json()
    assert now["prediction"] == before["prediction"]
    assert now["probabilities"] == pytest.approx(before["probabilities"], abs=1e-6)


def test_there_is_something_of_earlier_releases() -> None:
    """Archives that are not there would pass every test."""
    assert ARCHIVES


def test_a_server_goes_on_where_an_earlier_one_stopped(earlier: Path) -> None:
    """The database is migrated, once, by two workers that begin together; models answer as before, for the same keys;
    the record is read, added to and deleted from; requests that waited are answered."""
    said = told(earlier)
    with Server(earlier, workers=2) as server:
        check_answers(server, said)
        events = {event["request_id"]: event for event in tail(server)}
        assert {*said["answers"], "earlier-refused"} <= set(events)
        for request_id in said["answers"]:
            assert (events[request_id]["status"], events[request_id]["model"]) == ("ok", "iris")
            assert events[request_id]["trace_id"] is None
        assert events["earlier-rows"]["rows"] == 3
        first = events["earlier-0"]
        assert [first["inputs"][f"input[{i}]"][0] for i in range(4)] == ROW["input"]
        assert events["earlier-refused"]["error"]["code"] == "invalid_input"
        assert server.run("predictions", "delete", "--request-id", "earlier-1").out == "1 predictions deleted\n"
        left = {event["request_id"] for event in tail(server)}
        assert {"earlier-0", "earlier-2"} <= left
        assert "earlier-1" not in left
        for answer_id, value in said["later"].items():
            check_later(server, answer_id, value)


def check_later(server: Server, answer_id: str, value: float) -> None:
    """What was put aside then is answered now."""
    with server.client() as client:

        def look() -> Any:
            found = client.get(f"/api/v1/answers/{answer_id}", params={"wait_ms": 500}).json()
            return found if found["status"] == "done" else None

        found = until(look, f"{answer_id} is answered", 60.0)
    assert found["answer"]["prediction"] == [value * 2]


def test_a_worker_starts_from_the_snapshot_of_an_earlier_release(earlier: Path) -> None:
    """While the database is not there, nothing migrates it and nothing else tells of models and keys."""
    for name in ("control.db", "control.db-wal", "control.db-shm"):
        (earlier / ".kaname" / name).unlink(missing_ok=True)
    said = told(earlier)
    with Server(earlier) as server:
        check_answers(server, said)
        assert "CANNOT BE USED" in server.log()
