"""The project of a soak, its server, and what its clients know of it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np

from benchmarks.density_models import FEATURES, register
from benchmarks.models import serialised
from benchmarks.process import Server, free_port
from benchmarks.request import Request
from kaname.platform import Platform
from kaname.project import load_valid
from kaname.serving.workers.board import Board, board_path
from kaname.stores import Stores

COMMAND = str(Path(sys.executable).parent / "kaname")
MODEL_BYTES = 400_000
STEPS, SWITCHED = "steps", "switched"
"""The model whose versions are promoted, each of which answers its own number; the one that is unloaded and loaded."""
VERSIONS = ("1", "2", "3")
TIMEOUT_S = 30.0
ROW = [0.5] * FEATURES
"""What every model is asked, so that its answers can be compared over time and protocols."""


@dataclass(slots=True)
class World:
    """A running server with what is needed to ask it."""

    server: Server
    grpc_port: int
    folder: Path
    admin: str
    key: str
    models: int
    answers: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """What each model said the first time of the one row that it is always asked."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def client(self, key: str | None = None) -> httpx.Client:
        """An HTTP client with the key of those who predict, or with another one."""
        headers = {"authorization": f"Bearer {key or self.key}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=TIMEOUT_S, trust_env=False)

    def pids(self) -> list[int]:
        """The supervisor and its workers: what lasts."""
        board = Board(board_path(self.folder))
        workers = [view.pid for view in board.ready()]
        board.close()
        return [self.server.process.pid, *workers]

    def check(self, model: str, found: list[float]) -> str:
        """ "" when the model said what it said before, else what it said; the first answer is believed."""
        with self.lock:
            known = self.answers.setdefault(model, tuple(found))
        same = len(known) == len(found) and np.allclose(known, found, atol=1e-4)
        return "" if same else f"{model} answered {found}, before {known}"


@contextlib.contextmanager
def opened(models: int, budget_share: float) -> Iterator[World]:
    """A new project of so many models of 400 KB and room for a share of them, served by one worker on one core."""
    folder = Path(tempfile.mkdtemp(prefix="kaname-soak-"))
    try:
        budget = int(models * MODEL_BYTES * budget_share)
        (folder / "kaname.yaml").write_text(
            f"name: soak\ninference: {{memory_bytes: {budget}}}\nrecord: {{retain_bytes: {8 << 20}}}\n"
        )
        key = _fill(folder, models)
        port = free_port()
        command = [COMMAND, "serve", str(folder), "--port", str(port), "--grpc-port", str(port + 1)]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("KANAME_")}
        server = Server.start(command, clean, port, folder / "log", folder)
        try:
            server.wait_until(Request("/health/ready", b"", (), "GET"))
            admin = (folder / ".kaname" / "admin.key").read_text().strip()
            yield World(server, port + 1, folder, admin, key, models)
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _fill(folder: Path, models: int) -> str:
    """Register the models; returns a key that may predict with all of them."""
    stores = Stores(load_valid(folder, os.environ))
    register(stores, models, MODEL_BYTES)
    key = stores.keys.create("soak", ("predict:*",), who="soak")[1]
    stores.close()
    with Platform(folder) as platform:
        for version in VERSIONS:
            platform.models.add(
                STEPS, constant(folder / f"{version}.onnx", float(version)), who="soak", version=version
            )
        platform.models.add(SWITCHED, folder / "1.onnx", who="soak")
    return key


def constant(path: Path, value: float) -> Path:
    """A model that answers `value` for every row of two numbers."""
    from onnx import TensorProto, helper, numpy_helper

    weights = [
        numpy_helper.from_array(np.zeros((2, 1), np.float32), "w"),
        numpy_helper.from_array(np.full(1, value, np.float32), "b"),
    ]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])
    taken = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["y"])]
    path.write_bytes(serialised(helper.make_graph(nodes, "constant", [given], [taken], weights)))
    return path


def logged(folder: Path) -> list[str]:
    """What the server wrote at level error or above."""
    lines = (folder / "log").read_text(errors="replace").splitlines()
    return [line for line in lines if _level(line) in ("error", "critical") or line.startswith("Traceback")]


def _level(line: str) -> str:
    try:
        return str(json.loads(line).get("level", ""))
    except (ValueError, AttributeError):
        return ""
