"""A project whose artefacts lie in a bucket: two nodes, a store that dies, a worker that dies after it."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.kaname import kaname
from tests.e2e.server import Server, new_project
from tests.processes import until
from tests.storage.s3 import CREDENTIALS, S3

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "store").mkdir()
    with S3(tmp_path / "store") as running:
        yield running


def test_workers_go_on_with_what_they_hold(store: S3, tmp_path: Path) -> None:
    """The store is gone: models answer, a killed worker comes back and loads from the node's cache, the server starts
    anew; what needs the store is refused with its name, and works when it is back."""
    project = new_project(tmp_path / "project")
    lines = [f"  url: s3://models/{project.name}", f"  endpoint: http://127.0.0.1:{store.port}", "  region: us-east-1"]
    quick = ["  timeout_ms: 1000", "  retry_ms: 1000"]
    with (project / "kaname.yaml").open("a") as file:
        file.write("\n".join(["", "artefacts:", *lines, *quick, ""]))
    with Server(project) as server:
        assert server.predict().status_code == 200
        assert list((project / ".kaname").glob("artefacts/*")) == []
        store.kill()
        victim = min(server.pids())
        os.kill(victim, signal.SIGKILL)
        until(lambda: server.pids() and victim not in server.pids(), "a new worker is there", 30)
        assert server.predict().status_code == 200
        refused = server.kaname("model", "add", "other", project / "models" / "iris.onnx", "--tag", "x")
        assert refused.code == 1
        assert "the artefact store does not answer" in refused.err
        assert f"s3://models/{project.name}" in refused.err
    with Server(project) as server:
        assert server.predict().status_code == 200
        store.start()
        server.run("model", "add", "other", project / "models" / "iris.onnx")
        assert server.predict("other").status_code == 200
    printed = kaname("settings", project).out + Path(f"{project}.err").read_text() + refused.err
    for secret in CREDENTIALS.values():
        assert secret not in printed


def test_a_project_moves_to_a_bucket(store: S3, tmp_path: Path) -> None:
    """After `artefacts push` the versions answer from there, without the folder that they came from; again it sends
    nothing, and without a bucket it says what is missing."""
    project = new_project(tmp_path / "project")
    assert kaname("apply", project, "--yes").code == 0
    refused = kaname("-C", project, "artefacts", "push")
    assert refused.code == 2
    assert "artefacts.url" in refused.err
    lines = ["artefacts:", f"  url: s3://models/{project.name}", f"  endpoint: http://127.0.0.1:{store.port}"]
    with (project / "kaname.yaml").open("a") as file:
        file.write("\n".join(["", *lines, "  region: us-east-1", ""]))
    assert "1 sent, 0 were there" in kaname("-C", project, "artefacts", "push").out
    assert "0 sent, 1 were there" in kaname("-C", project, "artefacts", "push").out
    shutil.rmtree(project / ".kaname" / "artefacts")
    with Server(project) as server:
        assert server.predict().status_code == 200
