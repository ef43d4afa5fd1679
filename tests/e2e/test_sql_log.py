"""The prediction log in SQL beside a running server."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.cli.kaname import kaname
from tests.e2e.conftest import Serve
from tests.e2e.server import Server
from tests.processes import until

pytestmark = [pytest.mark.slow, pytest.mark.serial]


def test_what_a_server_predicts_is_in_the_tables(project: Path, serve: Serve, tmp_path: Path) -> None:
    """Requests arrive in their shard; the sink is killed and comes back; each request is there once, for the command
    line and over HTTP; what is deleted from the record is deleted there, too."""
    environ = {"KANAME_RECORD__SQL__URLS": f"sqlite:///{tmp_path}/shard-{{shard}}.db"}
    with serve(workers=2, **environ) as server:
        ids = [server.predict().headers["x-request-id"] for _ in range(10)]
        until(lambda: len(_rows(server, environ)) == 10, "they are in the tables")
        sink = until(lambda: _sink(server), "there is a sink")
        assert sink is not None
        os.kill(sink, signal.SIGKILL)
        ids += [server.predict().headers["x-request-id"] for _ in range(10)]
        until(lambda: len(_rows(server, environ)) == 20, "they are in the tables")
        assert sorted(row["request_key"] for row in _rows(server, environ)) == sorted(ids)
        with server.client() as client:
            (newest,) = client.get("/api/v1/inference-requests?model=iris&limit=1").json()["items"]
            assert [values[0] for values in newest["input_data"].values()] == [5.1, 3.5, 1.4, 0.2]
            assert client.get("/api/v1/inference-requests?model=nothing").status_code == 404
            deleted = client.post("/api/v1/predictions/delete", json={"request_ids": ids[:3]})
            assert deleted.json() == {"deleted": 3}
        assert sorted(row["request_key"] for row in _rows(server, environ)) == sorted(ids[3:])
        sink = _sink(server)
    assert not Path(f"/proc/{sink}").exists()


def test_without_urls_the_commands_say_what_is_missing(project: Path) -> None:
    """Reading and filling name the setting."""
    for command in (["sql", "iris"], ["sink", "--once"]):
        ran = kaname("-C", project, "predictions", *command)
        assert ran.code == 2
        assert "record.sql.urls" in ran.err


def test_a_record_is_moved_without_a_server(project: Path, serve: Serve, tmp_path: Path) -> None:
    """What was recorded before the setting was made is moved by a command, once."""
    with serve() as server:
        for _ in range(5):
            server.predict()
    urls = {"KANAME_RECORD__SQL__URLS": f"sqlite:///{tmp_path}/shard-{{shard}}.db"}
    assert kaname("-C", project, "predictions", "sink", "--once", cwd=None, **urls).out == "5 predictions moved\n"
    assert kaname("-C", project, "predictions", "sink", "--once", cwd=None, **urls).out == "0 predictions moved\n"
    assert "5.1" in kaname("-C", project, "predictions", "sql", "iris", cwd=None, **urls).out


def _rows(server: Server, environ: dict[str, str]) -> list[dict[str, Any]]:
    ran = kaname("-C", server.project, "predictions", "sql", "iris", "-n", "100", "--json", cwd=None, **environ)
    return [json.loads(line) for line in ran.out.splitlines()]


def _sink(server: Server) -> int | None:
    """The process of the server's sink."""
    for pid in server.pids():
        for child in Path(f"/proc/{pid}/task").glob("*/children"):
            for one in child.read_text().split():
                if b"sink" in Path(f"/proc/{one}/cmdline").read_bytes():
                    return int(one)
    return None
