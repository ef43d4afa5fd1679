"""`ModelInfer` of one iris row at 16 connections against a bare synchronous grpcio echo on bytes, interleaved.

Run `python -m benchmarks.grpc`; the server on one core, the load on another. Authentication, limits, the record and the
metrics are on. Prints CPU per request (user and system time of the server's whole process tree) round by round.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time

import numpy as np

from benchmarks import process, subject
from benchmarks.contestants import HERE, INPUT, OUT
from benchmarks.models import BenchModel, build
from kaname.serving.grpc.inference import INFER
from kaname.serving.grpc.messages import kind

CONNECTIONS = 16
WARM_S = 2.0
START_S = 20.0
ECHO, KANAME = "echo", "kaname"


def message(name: str, row: np.ndarray) -> bytes:
    """One row as raw contents."""
    one = {"name": INPUT, "datatype": "FP32", "shape": [1, len(row)]}
    raw = row.astype("<f4").tobytes()
    body: bytes = kind("inference.ModelInferRequest")(
        model_name=name, inputs=[one], raw_input_contents=[raw]
    ).SerializeToString()
    return body


def ask(port: int, body: bytes, key: str, seconds: float) -> int:
    """Load a server; returns how many calls it answered."""
    plan = {
        "port": port, "path": INFER, "metadata": {"authorization": f"Bearer {key}"}, "body": body.hex(),
        "connections": CONNECTIONS, "seconds": seconds,
    }  # fmt: skip
    command = process.pinned(process.CLIENT_CORE, [sys.executable, "-m", "benchmarks.grpc_load", json.dumps(plan)])
    seen = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd=HERE.parent).stdout)
    if seen["refused"] or not seen["answered"]:
        raise SystemExit(f"refused: {seen}")
    return int(seen["answered"])


def start_echo() -> process.Server:
    """The floor."""
    port = process.free_port()
    command = [sys.executable, str(HERE / "peers" / "grpc_echo" / "server.py")]
    log = OUT / "logs" / "grpc-echo.log"
    server = process.Server.start(command, os.environ | {"BENCH_PORT": str(port)}, port, log, OUT)
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.05)
        else:
            return server
    server.stop()
    raise SystemExit(f"the echo did not start; see {log}")


def start_kaname(project: subject.Project) -> tuple[process.Server, int]:
    """The subject, and its gRPC port."""
    port = process.free_port()
    command = [subject.COMMAND, "serve", str(project.folder), "--port", str(port), "--grpc-port", str(port + 1)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KANAME_")}
    server = process.Server.start(command, environment, port, OUT / "logs" / "kaname-grpc.log", project.folder)
    subject.wait_ready(server)
    return server, port + 1


def measure(server: process.Server, port: int, body: bytes, key: str, seconds: float) -> tuple[float, float]:
    """CPU microseconds per call, and calls a second."""
    before = server.cpu_s()
    answered = ask(port, body, key, seconds)
    return (server.cpu_s() - before) / answered * 1e6, answered / seconds


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=float, default=4.0)
    chosen = options.parse_args()
    model: BenchModel = build(OUT / "models")["iris"]
    project = subject.Project.make("grpc", {"iris": model})
    body = message("iris", model.row)
    echo = start_echo()
    kaname, kaname_port = start_kaname(project)
    ports = {ECHO: (echo, echo.port), KANAME: (kaname, kaname_port)}
    seen: dict[str, list[tuple[float, float]]] = {ECHO: [], KANAME: []}
    try:
        for server, port in ports.values():
            measure(server, port, body, project.key, WARM_S)
        for number in range(chosen.rounds):
            for name, (server, port) in ports.items():
                seen[name].append(measure(server, port, body, project.key, chosen.seconds))
            ratio = seen[KANAME][-1][0] / seen[ECHO][-1][0]
            print(f"round {number + 1}: " + ", ".join(
                f"{name} {us[-1][0]:.0f} µs CPU, {us[-1][1]:.0f}/s" for name, us in seen.items()
            ) + f", ratio {ratio:.2f}", flush=True)  # fmt: skip
    finally:
        echo.stop()
        kaname.stop()
    medians = {name: statistics.median(us for us, _ in rounds) for name, rounds in seen.items()}
    print(
        f"medians at {CONNECTIONS} connections: echo {medians[ECHO]:.0f} µs, kaname {medians[KANAME]:.0f} µs, "
        f"ratio {medians[KANAME] / medians[ECHO]:.2f} (must 1.40, aim 1.15)"
    )


if __name__ == "__main__":
    main()
