"""`ModelInfer` of one iris row beside MLServer, KServe and a bare synchronous grpcio echo on bytes, interleaved.

python -m benchmarks.grpc                    writes its part of docs/benchmarks.md (3 minutes)
python -m benchmarks.grpc --peers echo       some of them only; prints it

The server on one core, the load on another. Kaname runs as installed: authentication, limits, the record and metrics
are on. CPU per request is user and system time of the server's whole process tree.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from benchmarks import contestants, process, sections, subject
from benchmarks.contestants import HERE, INPUT, OUT, PEERS, Peer
from benchmarks.machine import describe
from benchmarks.models import BenchModel, build
from benchmarks.stats import ratios, spread
from benchmarks.targets import judge
from kaname.protobuf.messages import kind
from kaname.serving.grpc.inference import INFER

CONNECTIONS = (16, 64)
ROUNDS, SECONDS, WARM_S, START_S = 3, 2.0, 1.0, 60.0
ECHO, KANAME = "echo", "kaname"
JUDGED = {"mlserver0": (2, 3), ECHO: (1.4, 1.15)}
"""What Kaname's CPU must be and aims at: beside another server's, how many times less; beside the echo's, more."""
OTHERS = ("mlserver0", "kserve")


@dataclass(frozen=True, slots=True)
class Entry:
    """A running server, and how one row is asked of it."""

    name: str
    title: str
    server: process.Server
    port: int
    body: bytes
    key: str


Seen = dict[tuple[str, int], list[tuple[float, float]]]
"""By entry and connections: CPU microseconds per call, and calls a second, round by round."""


def message(name: str, row: np.ndarray) -> bytes:
    """One row as raw contents."""
    one = {"name": INPUT, "datatype": "FP32", "shape": [1, len(row)]}
    raw = row.astype("<f4").tobytes()
    body: bytes = kind("inference.ModelInferRequest")(
        model_name=name, inputs=[one], raw_input_contents=[raw]
    ).SerializeToString()
    return body


def ask(entry: Entry, connections: int, seconds: float) -> int:
    """Load a server; returns how many calls it answered."""
    plan = {
        "port": entry.port, "path": INFER, "metadata": {"authorization": f"Bearer {entry.key}"},
        "body": entry.body.hex(), "connections": connections, "seconds": seconds,
    }  # fmt: skip
    command = process.pinned(process.CLIENT_CORE, [sys.executable, "-m", "benchmarks.grpc_load", json.dumps(plan)])
    seen = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd=HERE.parent).stdout)
    if seen["refused"] or not seen["answered"]:
        raise process.ServerFailed(f"{entry.title}: {seen}")
    return int(seen["answered"])


def _open(port: int, server: process.Server) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise process.ServerFailed(f"no answer in {START_S:.0f} s; see {server.log}")


def start_echo(body: bytes, running: ExitStack) -> Entry:
    """The floor."""
    port = process.free_port()
    command = [sys.executable, str(HERE / "peers" / "grpc_echo" / "server.py")]
    environment = os.environ | {"BENCH_PORT": str(port)}
    server = process.Server.start(command, environment, port, OUT / "logs" / "grpc-echo.log", OUT)
    running.callback(server.stop)
    _open(port, server)
    return Entry(ECHO, "bare grpcio echo, synchronous, on bytes", server, port, body, "")


def start_kaname(model: BenchModel, running: ExitStack) -> Entry:
    """The subject."""
    project = subject.Project.make("grpc", {"iris": model})
    port = process.free_port()
    command = [subject.COMMAND, "serve", str(project.folder), "--port", str(port), "--grpc-port", str(port + 1)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KANAME_")}
    server = process.Server.start(command, environment, port, OUT / "logs" / "kaname-grpc.log", project.folder)
    running.callback(server.stop)
    subject.wait_ready(server)
    return Entry(KANAME, "**Kaname**", server, port + 1, message("iris", model.row), project.key)


def start_peer(peer: Peer, model: BenchModel, running: ExitStack) -> Entry:
    """Another server, with its gRPC port beside the HTTP one."""
    contestants.install(peer)
    port = process.free_port()
    extra = peer.environment | {"BENCH_MODEL": str(model.path), "BENCH_PORT": str(port), "BENCH_GRPC": "1"}
    log = OUT / "logs" / f"{peer.name}-grpc.log"
    server = process.Server.start(peer.command(), contestants.environment(extra), port, log, OUT)
    running.callback(server.stop)
    request = peer.request(model)
    assert request is not None
    server.wait_until(request)
    _open(port + 1, server)
    return Entry(peer.name, peer.title, server, port + 1, message("bench", model.row), "")


def _present(peer: Peer, model: BenchModel, running: ExitStack) -> list[Entry]:
    """The server, unless it cannot be had or does not answer: then the others are measured without it."""
    try:
        entry = start_peer(peer, model, running)
        measure(entry, CONNECTIONS[0], WARM_S)
    except (contestants.InstallFailed, process.ServerFailed, subprocess.CalledProcessError) as error:
        print(f"{peer.title} does not take part: {error}", flush=True)
        return []
    return [entry]


def measure(entry: Entry, connections: int, seconds: float) -> tuple[float, float]:
    """CPU microseconds per call, and calls a second."""
    before = entry.server.cpu_s()
    answered = ask(entry, connections, seconds)
    return (entry.server.cpu_s() - before) / answered * 1e6, answered / seconds


def interleave(entries: Sequence[Entry], rounds: int, seconds: float) -> Seen:
    """Everyone in turn, each number of connections, again and again."""
    found: Seen = {}
    for entry in entries:
        measure(entry, CONNECTIONS[0], WARM_S)
    for number in range(rounds):
        for connections in CONNECTIONS:
            for entry in entries:
                cost = measure(entry, connections, seconds)
                found.setdefault((entry.name, connections), []).append(cost)
                said = f"{cost[0]:.0f} µs CPU, {cost[1]:,.0f}/s"
                print(f"round {number + 1}, {connections} connections, {entry.name}: {said}", flush=True)
    return found


def section(entries: Sequence[Entry], found: Seen) -> str:
    """The part of the page."""
    lines = [
        "## gRPC: `iris`, `ModelInfer`, one row as raw contents",
        "",
        _about(),
        "",
        "| server | connections | requests/s | CPU µs per request | CPU, × Kaname |",
        "|---|---:|---:|---:|---:|",
    ]
    for connections in CONNECTIONS:
        ours = [us for us, _ in found[KANAME, connections]]
        for entry in entries:
            costs = found[entry.name, connections]
            cpu, rate = spread([us for us, _ in costs]), spread([per_s for _, per_s in costs])
            times = ratios([us for us, _ in costs], ours)
            row = f"{entry.title} | {connections} | {rate.median:,.0f} | {cpu:,.0f} | {times.median:.2f}"
            lines.append(f"| {row} |")
    return "\n".join([*lines, "", *_verdicts(found), "", "`make bench-grpc` measures again."])


def _about() -> str:
    return (
        f"Servers on one core of {describe()['CPU']}, the load on the other, one call at a time per connection; Kaname "
        "as installed, with keys, limits, record and metrics. The echo does nothing at all: grpcio's own cost."
    )


def _verdicts(found: Seen) -> list[str]:
    lines = ["| target: CPU at 16 connections | must | aim | measured | |", "|---|---:|---:|---:|---|"]
    ours = [us for us, _ in found[KANAME, CONNECTIONS[0]]]
    for name, bounds in JUDGED.items():
        theirs = [us for us, _ in found.get((name, CONNECTIONS[0]), [])]
        if theirs:
            what = "Kaname's, × the echo's" if name == ECHO else "MLServer's, × Kaname's"
            times = ratios(ours, theirs) if name == ECHO else ratios(theirs, ours)
            one = judge(what, times.median, *bounds, least=name != ECHO, form=".2f")
            lines.append(f"| {one.what} | {one.must} | {one.aim} | {times:.2f} | {one.word} |")
    return lines


def main() -> None:
    """Measure, and write or print."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--rounds", type=int, default=ROUNDS)
    options.add_argument("--seconds", type=float, default=SECONDS)
    options.add_argument("--peers", help=f"of {ECHO},{','.join(OTHERS)}; all of them")
    chosen = options.parse_args()
    wanted = {ECHO, *OTHERS} if chosen.peers is None else set(chosen.peers.split(","))
    model = build(OUT / "models")["iris"]
    with ExitStack() as running:
        entries = [start_kaname(model, running)]
        if ECHO in wanted:
            entries.append(start_echo(entries[0].body, running))
        for peer in PEERS:
            if peer.name in wanted & set(OTHERS):
                entries += _present(peer, model, running)
        text = section(entries, interleave(entries, chosen.rounds, chosen.seconds))
    print(text)
    if chosen.peers is None:
        sections.put("grpc", text)


if __name__ == "__main__":
    main()
