"""Kaname as it is installed: a project folder, `kaname model add`, `kaname serve`, everything switched on.

Authentication is required, each key has a rate limit (of a size that the load does not reach), every prediction is
recorded, metrics are counted. Nothing is set that a user would not set.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from benchmarks import process
from benchmarks.contestants import INPUT, OUT
from benchmarks.models import BenchModel
from benchmarks.request import Request, infer_binary, infer_json, json_request

COMMAND = str(Path(sys.executable).parent / "kaname")
RATE_ROWS_PER_S = 1e9
RECORD_METRICS = ("recorded", "dropped", "predictions_total")


class SubjectFailed(Exception):
    """A `kaname` command failed; the message holds what it said."""


@dataclass(frozen=True, slots=True)
class Project:
    """A project folder made for a benchmark, and the key that the load uses."""

    folder: Path
    key: str

    @classmethod
    def make(cls, name: str, models: dict[str, BenchModel]) -> Project:
        """A fresh project below the benchmark's output folder, with the models under the given names."""
        folder = OUT / "projects" / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "kaname.yaml").write_text(f"name: bench-{name}\n")
        for model_name, model in models.items():
            kaname("-C", str(folder), "model", "add", model_name, str(model.path))
        said = kaname(
            "-C", str(folder), "key", "create", "--scope", "predict:*", "--rate", f"{RATE_ROWS_PER_S:.0f}", "--json"
        )
        return cls(folder, json.loads(said)["key"])

    def start(self) -> process.Server:
        """`kaname serve` with one worker on the server's core."""
        port = process.free_port()
        command = [COMMAND, "serve", str(self.folder), "--port", str(port)]
        log = OUT / "logs" / f"kaname-{self.folder.name}.log"
        return process.Server.start(command, _environment(), port, log, self.folder)

    @property
    def authorization(self) -> tuple[str, str]:
        return ("Authorization", f"Bearer {self.key}")

    def predict_request(self, server: process.Server, name: str) -> Request:
        """The sample that the model's own metadata offers, on `/api/v1`."""
        metadata = json.loads(self.get(server, f"/api/v1/models/{name}/metadata"))
        return json_request(f"/api/v1/models/{name}/predict", metadata["sample"]).with_headers(self.authorization)

    def infer_request(self, name: str, model: BenchModel, rows: int = 1, *, binary: bool = False) -> Request:
        """An Open Inference Protocol request of `rows` equal rows, as JSON or with binary tensors both ways."""
        path, tensor = f"/v2/models/{name}/infer", model.row[None].repeat(rows, axis=0)
        if binary or model.binary:
            return infer_binary(path, INPUT, tensor, binary_answer=True).with_headers(self.authorization)
        return infer_json(path, INPUT, tensor).with_headers(self.authorization)

    def get(self, server: process.Server, path: str) -> bytes:
        """Read a resource with the project's own admin key."""
        key = (self.folder / ".kaname" / "admin.key").read_text().strip()
        asked = urllib.request.Request(
            f"http://127.0.0.1:{server.port}{path}", headers={"Authorization": f"Bearer {key}"}
        )
        with urllib.request.urlopen(asked, timeout=20) as answer:
            return bytes(answer.read())

    def record_lines(self, server: process.Server) -> list[str]:
        """What the server counted of its prediction record: that it was on, and whether it dropped."""
        lines = self.get(server, "/metrics").decode().splitlines()
        return [line for line in lines if not line.startswith("#") and any(word in line for word in RECORD_METRICS)]


def wait_ready(server: process.Server) -> None:
    """Return when the server says that its models are loaded and warm."""
    server.wait_until(Request("/health/ready", b"", (), "GET"))


def version() -> str:
    """The installed release, without the program's name."""
    return kaname("--version").split()[-1]


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("KANAME_")}


def kaname(*arguments: str) -> str:
    """What a command of the installed program prints."""
    done = subprocess.run([COMMAND, *arguments], capture_output=True, text=True, check=False, env=_environment())
    if done.returncode != 0:
        raise SubjectFailed(f"kaname {' '.join(arguments)}: {(done.stderr or done.stdout).strip()[-600:]}")
    return done.stdout


FAULTS = (SubjectFailed, process.ServerFailed, OSError, http.client.HTTPException, KeyError, ValueError)
"""What can go wrong on the way to a first answer."""
