"""What the rounds do not show: the open loop, one large binary request, memory, and the runtime alone."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import load, openloop, process, subject
from benchmarks.models import BenchModel
from benchmarks.rounds import Entry

ROOT = Path(__file__).resolve().parents[1]
OPEN_RATE_PER_S = 1000
OPEN_CONNECTIONS = 16
LARGE_ROWS = 1000
MANY_MODELS = 10
KILOBYTE = 1024.0


def raw_us(model: BenchModel) -> dict[str, float]:
    """`session.run` alone on the server's core: microseconds per call by batch size."""
    return dict(_json_of(["-m", "benchmarks.raw", str(model.path)], process.SERVER_CORE))


def open_loop(entry: Entry, seconds: float) -> dict[str, float]:
    """1,000 requests a second whatever the server does; latency from the intended moment."""
    wire = openloop.encode(entry.server.port, entry.request).decode("latin-1")
    plan = {"port": entry.server.port, "wire": wire, "rate_per_s": OPEN_RATE_PER_S, "seconds": seconds}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(plan | {"connections": OPEN_CONNECTIONS}, file)
        file.flush()
        return dict(_json_of(["-m", "benchmarks.openloop", file.name], process.CLIENT_CORE))


def large_request_rows_per_s(
    project: subject.Project, server: process.Server, model: BenchModel, seconds: float
) -> float:
    """Rows a second in binary requests of 1,000 rows, one after another on one connection."""
    request = project.infer_request(model.name, model, LARGE_ROWS, binary=True)
    seen = load.run(server.port, request, connections=1, seconds=seconds)
    if seen.refused or seen.broken:
        raise load.LoadFailed(f"{seen.refused} refused and {seen.broken} broken requests of {LARGE_ROWS} rows")
    return seen.per_s * LARGE_ROWS


def memory_mb(models: dict[str, BenchModel]) -> float:
    """Resident memory of a worker that has served ten small models, in MiB."""
    small = [models["iris"], models["mlp"]]
    ten = {f"small{number}": small[number % 2] for number in range(MANY_MODELS)}
    project = subject.Project.make("memory", ten)
    server = project.start()
    try:
        subject.wait_ready(server)
        for name, model in ten.items():
            server.wait_until(project.infer_request(name, model))
        return server.largest_resident_bytes() / KILOBYTE**2
    finally:
        server.stop()


def _json_of(arguments: list[str], core: int) -> dict[str, float]:
    command = process.pinned(core, [sys.executable, *arguments])
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode != 0:
        raise load.LoadFailed(f"{' '.join(arguments[:2])}: {done.stderr.strip()[-400:]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found
