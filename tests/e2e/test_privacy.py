"""Nothing is written outside the project's folder, and nobody is called."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.kaname import COMMAND, Ran
from tests.e2e import graphs
from tests.e2e.server import Server, files_under, new_project, tail
from tests.processes import until

pytestmark = pytest.mark.slow


def test_an_empty_home_stays_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server, an import, predictions and the shutdown leave HOME and the folder of temporary files as they were."""
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    home.mkdir()
    temporary.mkdir()
    for name in [name for name in os.environ if name.startswith(("XDG_", "ORT_"))]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("TMPDIR", str(temporary))
    project = new_project(tmp_path / "project")
    models = tmp_path / "models"
    graphs.constant(models / "one.onnx", 1.0)
    before = set(files_under(tmp_path))
    with Server(project, workers=2) as server:
        for _ in range(10):
            assert server.predict().status_code == 200
        server.run("model", "add", "one", models / "one.onnx")
        until(lambda: server.predict("one", features=[1, 2]).status_code == 200, "the new model answers")
        assert tail(server)
    assert list(files_under(home)) == []
    assert list(files_under(temporary)) == []
    outside = {name for name in set(files_under(tmp_path)) - before if not name.startswith("project")}
    assert outside == set()


def test_no_process_of_a_server_has_a_connection_to_elsewhere(tmp_path: Path) -> None:
    """While it serves, every socket of every process is on loopback."""
    project = new_project(tmp_path / "project")
    with Server(project, workers=2) as server:
        assert server.predict().status_code == 200
        for pid in {server.process.pid, *server.pids()}:
            assert _peers(pid) == set()


def _peers(pid: int) -> set[str]:
    """Remote addresses, beyond loopback, that a process' own sockets are connected to."""
    mine = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(link.readlink())
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            mine.add(target[8:-1])
    found = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            remote = fields[2].rpartition(":")[0]
            if fields[9] in mine and remote.strip("0") and not remote.endswith("0100007F"):
                found.add(remote)
    return found


def test_the_command_line_leaves_no_trace_at_home(tmp_path: Path) -> None:
    """Help and completion are printed, not installed."""
    import subprocess

    home = tmp_path / "home"
    home.mkdir()
    for arguments in (["--help"], ["--version"], ["doctor", str(tmp_path)]):
        done = subprocess.run(
            [*COMMAND, *arguments],
            env={"PATH": os.environ["PATH"], "HOME": str(home)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert Ran(done).code == 0, done.stderr
    assert list(files_under(home)) == []
