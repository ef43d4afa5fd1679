"""Who takes part: how each server is installed, started and asked."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.models import BenchModel
from benchmarks.request import Request, bytes_request, infer_binary, infer_json, json_request

HERE = Path(__file__).resolve().parent
ENVS, OUT = HERE / ".envs", HERE / "out"
INPUT = "X"

MakeRequest = Callable[[BenchModel], Request | None]
"""The request for one row of a model; None: this server does not take that model's form."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A server other than Kaname."""

    name: str
    title: str
    folder: str
    """Below `peers/`."""
    request: MakeRequest
    environment: dict[str, str] = field(default_factory=dict)
    isolated: bool = True
    """Runs in a virtual environment of its own; the floor runs in Kaname's."""

    @property
    def python(self) -> Path:
        return ENVS / self.folder / "bin" / "python" if self.isolated else Path(sys.executable)

    def command(self) -> list[str]:
        return [str(self.python), str(HERE / "peers" / self.folder / "server.py")]


def _fastapi(model: BenchModel) -> Request:
    if model.binary:
        return bytes_request("/predict/binary", model.row)
    return json_request("/predict", {"features": model.row.tolist()})


def _features(model: BenchModel) -> Request | None:
    return None if model.binary else json_request("/predict", {"features": model.row.tolist()})


def _infer(model: BenchModel) -> Request | None:
    return None if model.binary else infer_json("/v2/models/bench/infer", INPUT, model.row[None])


def _infer_or_binary(model: BenchModel) -> Request:
    if model.binary:
        return infer_binary("/v2/models/bench/infer", INPUT, model.row[None], binary_answer=False)
    return infer_json("/v2/models/bench/infer", INPUT, model.row[None])


FLOOR = "floor"
BY_HAND = "fastapi"
PEERS = (
    Peer(FLOOR, "bare uvloop + httptools echo", "floor", _fastapi, isolated=False),
    Peer(BY_HAND, "FastAPI + ONNX Runtime, by hand", "fastapi", _fastapi),
    Peer("mlserver0", "MLServer, parallel_workers=0", "mlserver", _infer, {"BENCH_WORKERS": "0"}),
    Peer("mlserver", "MLServer, default", "mlserver", _infer),
    Peer("kserve", "KServe SDK", "kserve", _infer_or_binary),
    Peer("litserve", "LitServe", "litserve", _features),
    Peer("bentoml", "BentoML", "bentoml", _features),
)


class InstallFailed(Exception):
    """A peer could not be installed; the message is the end of what the installer said."""


def install(peer: Peer) -> None:
    """Make the peer's virtual environment from its pinned requirements, unless it is there already."""
    if not peer.isolated:
        return
    requirements = HERE / "peers" / peer.folder / "requirements.txt"
    stamp = ENVS / peer.folder / "installed"
    if stamp.exists() and stamp.read_bytes() == requirements.read_bytes():
        return
    _run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(ENVS / peer.folder)])
    _run([*_installer(peer.python), "-q", "-r", str(requirements)])
    stamp.write_bytes(requirements.read_bytes())


def _installer(python: Path) -> list[str]:
    uv = Path(sys.executable).parent / "uv"
    if uv.exists():
        return [str(uv), "pip", "install", "--python", str(python)]
    return [sys.executable, "-m", "pip", "--python", str(python), "install"]


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise InstallFailed((done.stderr or done.stdout).strip()[-400:])


def version(peer: Peer) -> str:
    """The release that is installed, from the pinned requirements."""
    if not peer.isolated:
        return ""
    pins = (HERE / "peers" / peer.folder / "requirements.txt").read_text().splitlines()
    return next((line.split("==")[1] for line in pins if line.startswith(f"{peer.folder}==")), "")


def environment(extra: dict[str, str]) -> dict[str, str]:
    """A small environment with a home of its own: no server reads the user's settings or writes there."""
    home = OUT / "home"
    home.mkdir(parents=True, exist_ok=True)
    base = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "BENCH_SCRATCH": str(home)}
    quiet = {"ORT_DISABLE_TELEMETRY": "1", "BENTOML_DO_NOT_TRACK": "True", "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1"}
    return base | quiet | extra
