"""`kaname serve --grpc-port` with several workers: one port, no lost request, a clear word where it cannot be had."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton

from tests.cli.kaname import kaname
from tests.e2e.server import Server, new_project

from .conftest import hold_port

pytestmark = pytest.mark.slow
REFUSED = ("StatusCode.UNAVAILABLE", "StatusCode.CANCELLED")
"""What calls get that have not begun when the server leaves; grpc's core cancels those that it has not handed over."""
ROW = np.array([[5.1, 3.5, 1.4, 0.2]], dtype=np.float32)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_project(tmp_path_factory.mktemp("workers") / "project")


@pytest.fixture
def port() -> Iterator[int]:
    with hold_port() as held:
        yield held.getsockname()[1]


def client(port: int) -> Any:
    """A client with a connection of its own."""
    own = [("grpc.use_local_subchannel_pool", 1)]
    return triton.InferenceServerClient(f"127.0.0.1:{port}", channel_args=own)


def row() -> Any:
    tensor = triton.InferInput("input", [1, 4], "FP32")
    tensor.set_data_from_numpy(ROW)
    return tensor


def test_workers_share_the_port_and_finish_what_is_in_progress(project: Path, port: int) -> None:
    """Connections reach both workers; whoever asks while the server leaves gets answers or a refusal to retry."""
    with Server(project, workers=2, KANAME_SERVER__GRPC_PORT=str(port)) as server:
        headers = {"authorization": f"Bearer {server.admin}"}
        clients = [client(port) for _ in range(16)]
        for one in clients:
            assert one.infer("iris", [row()], headers=headers).as_numpy("label") is not None
        pids = {view.pid for view in server.board.ready()}
        assert {pid for pid in pids if _connections(pid, port)} == pids
        wrong: list[str] = []
        answered = [0]
        leaving = threading.Event()

        def ask(one: Any) -> None:
            try:
                while True:
                    one.infer("iris", [row()], headers=headers)
                    answered[0] += 1
            except triton.InferenceServerException as error:
                if not leaving.is_set() or str(error.status()) not in REFUSED:
                    wrong.append(f"{error.status()} {error.message()}")

        threads = [threading.Thread(target=ask, args=(one,)) for one in clients[:4]]
        for thread in threads:
            thread.start()
        while answered[0] < 50:
            threads[0].join(0.01)
        leaving.set()
        assert server.stop() == 0
        for thread in threads:
            thread.join(30)
        assert wrong == []
    for line in server.logged():
        assert line["level"] in ("info", "warning"), line


def _connections(pid: int, port: int) -> int:
    """Established connections of a process at a port."""
    inodes = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            link = str(fd.readlink())
        except FileNotFoundError:
            continue
        if link.startswith("socket:["):
            inodes.add(link[8:-1])
    tables = (Path(f"/proc/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6"))
    rows = [line.split() for table in tables for line in table]
    return sum(row[9] in inodes and row[1].endswith(f":{port:04X}") and row[3] == "01" for row in rows)


def test_a_port_that_somebody_has_is_said(project: Path) -> None:
    """Before any worker starts: shared ports would hide it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = kaname("serve", project, "--port", "0", "--grpc-port", str(port))
    assert ran.code != 0
    assert "server.grpc_port" in ran.err
    assert str(port) in ran.err


def test_without_the_extra(project: Path, tmp_path: Path) -> None:
    """The server starts as ever; with a port it says what to install."""
    copy = shutil.copytree(project, tmp_path / "project")
    (tmp_path / "site" / "grpc").mkdir(parents=True)
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "import sys\nclass No:\n    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'grpc' or name.startswith('grpc.'):\n            raise ModuleNotFoundError(name=name)\n"
        "sys.meta_path.insert(0, No())\n"
    )
    path = str(tmp_path / "site")
    with Server(copy, PYTHONPATH=path) as server:
        assert server.predict().status_code == 200
    ran = kaname("serve", copy, "--port", "0", "--grpc-port", "50051", PYTHONPATH=path)
    assert ran.code != 0
    assert "pip install 'kaname[grpc]'" in ran.err
