"""The device's memory: counted by version, bounded for a worker, and given back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kaname.runtimes import device_memory
from kaname.runtimes.catalog import begin, open_session
from kaname.settings import Device
from tests.cli.kaname import kaname
from tests.e2e import graphs as affines
from tests.e2e.conftest import Serve
from tests.e2e.server import Server
from tests.gpu.conftest import declare, on
from tests.runtimes.graphs import signature_of

pytestmark = [pytest.mark.gpu, pytest.mark.slow]
MIB = 1024 * 1024
WIDTH = 4096
WEIGHTS = WIDTH * WIDTH * 4
MODELS = 4


def large(path: Path) -> Path:
    """A model of 64 MiB."""
    return affines.affine(path, np.random.default_rng(31).normal(size=(WIDTH, WIDTH)).astype(np.float32) / WIDTH)


def test_asking_does_not_begin_to_use_a_device() -> None:
    """A process that runs on the processor knows nothing of a device's memory, and takes none."""
    code = "from kaname.runtimes.device_memory import look, used_bytes; print(look(), used_bytes())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["None", "0"]


def test_a_session_takes_its_weights_and_gives_them_back(cuda: Device, tmp_path: Path) -> None:
    """What was there before the first session is no part of it."""
    path = large(tmp_path / "large.onnx")
    begin("onnx", on(cuda))
    before = device_memory.used_bytes()
    assert before > 0
    session = open_session("onnx", path, signature_of(path), on(cuda))
    taken = device_memory.used_bytes() - before
    assert WEIGHTS <= taken < WEIGHTS + 256 * MIB
    session.close()
    del session
    assert device_memory.used_bytes() - before < taken / 2


def settings(project: Path, device: Device, budget: int) -> None:
    (project / "kaname.yaml").write_text(
        f"name: gpu\ninference: {{device: {device}, device_memory_bytes: {budget}, preload: 0}}\n"
    )


def ask(server: Server, number: int) -> Any:
    body = {"inputs": [{"name": "x", "shape": [1, WIDTH], "datatype": "FP32", "data": [1.0] * WIDTH}]}
    with server.client() as client:
        answered = client.post(f"/v2/models/large{number}/infer", json=body)
    assert answered.status_code == 200, answered.text
    return answered.json()["outputs"][0]["data"]


def test_a_workers_share_of_the_device_is_kept(cuda: Device, project: Path, serve: Serve, tmp_path: Path) -> None:
    """Four models with room for two and a half: all are answered, alike each time, and never more are there than fit.

    The account says what each version took of the device; its profile, what it took at its import, and where.
    """
    file = large(tmp_path / "large.onnx")
    for number in range(MODELS):
        declare(project, f"large{number}", file)
    settings(project, cuda, 0)
    ran = kaname("apply", project, "--yes")
    assert ran.code == 0, ran.out + ran.err
    shown = kaname("model", "show", "large0", "--json", cwd=project).json()
    profile = shown["versions"][0]["profile"]
    assert profile["device"] == "cuda"
    assert profile["device_bytes"] >= WEIGHTS
    settings(project, cuda, profile["device_bytes"] * 5 // 2)
    with serve() as server:
        answers = [ask(server, number) for number in (*range(MODELS), *range(MODELS))]
        assert answers[:MODELS] == answers[MODELS:]
        account = json.loads(server.run("residency", "--json").out)
    (worker,) = account["workers"]
    assert worker["device_budget"] == profile["device_bytes"] * 5 // 2
    assert WEIGHTS <= worker["device_bytes"] <= worker["device_budget"]
    assert worker["evictions"] >= MODELS
    inside = [version for version in account["versions"] if version["state"] == "in memory"]
    assert worker["device_bytes"] == sum(version["device_bytes"] for version in inside)
    assert all(version["device_bytes"] >= WEIGHTS for version in inside)
