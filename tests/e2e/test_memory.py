"""What a worker weighs, and what it must not have loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.e2e import graphs
from tests.e2e.conftest import Serve
from tests.e2e.server import rss_bytes

pytestmark = [pytest.mark.slow, pytest.mark.serial]

MOST_BYTES = 150 * 1000**2
HEAVY = ("alembic", "joblib", "onnx", "pandas", "pyarrow", "rich.console", "scipy", "sklearn", "skl2onnx", "typer")
"""What the command line and imports need, and requests do not."""


def test_a_worker_with_ten_small_models_is_small(project: Path, serve: Serve) -> None:
    """150 MB at most after each model has answered."""
    draw = np.random.default_rng(1)
    for i in range(9):
        graphs.affine(project / "models" / f"small-{i}.onnx", draw.normal(size=(8, 3)).astype(np.float32))
        (project / "models" / f"small-{i}.yaml").write_text(
            f'name: small-{i}\nversions:\n  - {{version: "1", path: models/small-{i}.onnx}}\npromoted: "1"\n'
        )
    with serve() as server:
        for i in range(9):
            assert server.predict(f"small-{i}", features=[1.0] * 8).status_code == 200
        for _ in range(200):
            assert server.predict().status_code == 200
        (pid,) = server.pids()
        print(f"worker with ten models: {rss_bytes(pid) / 1e6:.1f} MB resident")
        assert rss_bytes(pid) <= MOST_BYTES


PROGRAM = """
import asyncio, sys
import kaname.serving.workers.__main__
from pathlib import Path
from kaname.serving.workers.board import Board
from kaname.serving.workers import worker
from kaname.platform import build_worker

async def run():
    plane = build_worker(Path(sys.argv[1]), 0, Board.create(Path(sys.argv[1]) / ".kaname" / "run" / "board", 1))
    await plane.start()
    await plane.stop()

asyncio.run(run())
print("\\n".join(sys.modules))
"""


def test_a_worker_loads_no_library_that_requests_do_not_need(project: Path, serve: Serve) -> None:
    """A worker that has loaded a model has imported no converter, table library or console."""
    serve().stop()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(project)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "onnxruntime" in loaded
    assert sorted(loaded.intersection(HEAVY)) == []
