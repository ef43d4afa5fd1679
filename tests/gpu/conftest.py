"""Tests on a CUDA device. `KANAME_TEST_DEVICE=cpu` runs what of them a processor can, to try the tests themselves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import models as bench
from kaname.runtimes.types import SessionOptions
from kaname.settings import Device
from tests.e2e.conftest import Serve, project, serve, served_before  # noqa: F401  (fixtures)

_ASK = "from kaname.runtimes.onnx import check_device; check_device('cuda')"


@pytest.fixture(scope="session")
def device() -> Device:
    """Where the tests run. Asked in a process of its own: to ask is to begin to use it."""
    asked = os.environ.get("KANAME_TEST_DEVICE", "cuda")
    if asked == "cpu":
        return "cpu"
    done = subprocess.run([sys.executable, "-c", _ASK], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no CUDA device: {done.stderr.strip().splitlines()[-1]}")
    return "cuda"


@pytest.fixture
def cuda(device: Device) -> Device:
    """The device, where it has memory of its own."""
    if device == "cpu":
        pytest.skip("the processor has no memory of its own")
    return device


@pytest.fixture(scope="session")
def benched(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bench.BenchModel]:
    """The models of the benchmarks."""
    return bench.build(tmp_path_factory.mktemp("models"))


def on(device: Device, device_bytes: int = 0) -> SessionOptions:
    return SessionOptions(device=device, device_bytes=device_bytes)


def declare(folder: Path, name: str, file: Path) -> None:
    """A model of the project in `folder`, answered by `file`."""
    (folder / "models" / f"{name}.onnx").write_bytes(file.read_bytes())
    (folder / "models" / f"{name}.yaml").write_text(
        f'name: {name}\nversions:\n  - {{version: "1", path: models/{name}.onnx}}\npromoted: "1"\n'
    )
