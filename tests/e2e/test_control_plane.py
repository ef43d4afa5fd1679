"""The control plane dies; predictions go on."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from msgspec import structs

from kaname.serving.snapshot import Snapshot
from tests.e2e.conftest import Serve
from tests.e2e.load import Load
from tests.e2e.server import ROW, Server, predict
from tests.processes import until

pytestmark = [pytest.mark.slow, pytest.mark.serial]


def _ruin(project: Path, how: str) -> None:
    data = project / ".kaname"
    for name in ("control.db", "control.db-wal", "control.db-shm"):
        file = data / name
        if how == "deleted":
            file.unlink(missing_ok=True)
        elif how == "emptied":
            file.write_bytes(b"")
        elif how == "garbage":
            with file.open("r+b") as opened:
                opened.write(b"\xa5" * max(4096, file.stat().st_size))


@pytest.mark.parametrize("how", ["deleted", "garbage"])
def test_predictions_survive_a_ruined_database(project: Path, serve: Serve, how: str) -> None:
    """The file is deleted or overwritten under load: no answer fails; a killed worker starts from the last snapshot."""
    with serve(workers=2) as server:
        until(lambda: server.predict().status_code == 200, "it answers")
        with Load(server, "iris", ROW, kept=2, fresh=1) as load:
            _ruin(project, how)
            load.more(100)
            victim = min(server.pids())
            os.kill(victim, signal.SIGKILL)
            until(lambda: len(server.pids()) == 2 and victim not in server.pids(), "a new worker", 40.0)
            load.more(100)
        assert load.lost == []
        with server.client() as client:
            assert client.get("/health/ready").status_code == 200
            if how == "garbage":
                refused = client.post("/api/v1/models/iris/unload")
                assert refused.status_code in (500, 503)
                assert refused.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("how", ["deleted", "emptied", "garbage"])
def test_a_server_starts_on_a_ruined_database(project: Path, serve: Serve, how: str) -> None:
    """It answers as of the last snapshot, says loudly which file to put back, refuses changes, and makes no empty
    registry in place of the lost one. With the copy put back, even an older one, all is well again."""
    database, snapshot = project / ".kaname" / "control.db", project / ".kaname" / "snapshot"
    copy, newest = database.read_bytes(), Snapshot.load(snapshot)
    structs.replace(newest, number=newest.number + 5).save(snapshot)
    _ruin(project, how)
    with serve() as server:
        assert server.predict().status_code == 200
        (said,) = [line for line in server.logged() if "CANNOT BE USED" in line["event"]]
        assert str(database) in said["event"]
        assert str(snapshot) in said["event"]
        with server.client() as client:
            refused = client.post("/api/v1/models/iris/unload")
        assert refused.status_code in (500, 503)
        assert "database" in refused.json()["detail"]
        assert server.predict().status_code == 200
    if how != "garbage":
        assert not database.exists() or not database.stat().st_size
    _ruin(project, "deleted")
    database.write_bytes(copy)
    with serve() as server:
        _changes_again(server)
        assert newest.number < Snapshot.load(snapshot).number < newest.number + 5


def test_a_locked_database_holds_up_changes_only(serve: Serve) -> None:
    """Another process sits on a write transaction: predictions and restarts go on; a change waits its turn."""
    with serve(workers=2) as server:
        path = server.project / ".kaname" / "control.db"
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            with Load(server, "iris", ROW, kept=2) as load:
                victim = min(server.pids())
                os.kill(victim, signal.SIGKILL)
                until(lambda: len(server.pids()) == 2 and victim not in server.pids(), "a new worker", 40.0)
                load.more(50)
            assert load.lost == []
            other.execute("ROLLBACK")
        _changes_again(server)


def _changes_again(server: Server) -> None:
    with server.client() as client:
        assert client.post("/api/v1/models/iris/unload").status_code == 200
        assert predict(client).status_code == 503
        assert client.post("/api/v1/models/iris/load").status_code == 200
        assert predict(client).status_code == 200
