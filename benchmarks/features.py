"""Reading features, beside Feast on the same rows: in process and over HTTP.

python -m benchmarks.features                 writes its part of docs/benchmarks.md (4 minutes; needs wrk, redis-server)
python -m benchmarks.features --rounds 1      prints it

1,000 entities with 100 numbers each. Every reader is a process of its own, on one core; they are asked in turns, and
each checks what it reads. CPU is that of the whole process, per read.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks import cells, feature_reader, interleaved, load, process, reading, sections, subject
from benchmarks.contestants import HERE, Peer, environment, install, version
from benchmarks.machine import describe
from benchmarks.report import table
from benchmarks.request import Request, json_request
from benchmarks.stats import ratios, spread
from kaname.clock import SystemClock
from kaname.platform import Platform
from kaname.storage.cells.lmdb.store import LmdbCells

ROUNDS, WINDOW_S, CONNECTIONS = 5, 0.4, 16
SHAPES = ((1, 10), (1, 100), (100, 10), (100, 100))
"""Entities and features of a read."""
FEAST = Peer("feast", "Feast", "feast", lambda _: None)
KANAME, SQLITE, REDIS = "Kaname, embedded", "Feast, SQLite", "Feast, Redis"

Shape = tuple[int, int]
Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Reader:
    """A process that reads on command (see `benchmarks.reading`)."""

    title: str
    process: subprocess.Popen[str]

    @classmethod
    def start(cls, title: str, command: list[str], extra: dict[str, str]) -> Reader:
        """Run it on the servers' core, and wait until it is ready."""
        command = process.pinned(process.SERVER_CORE, command)
        running = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(extra), cwd=HERE.parent
        )
        reader = cls(title, running)
        while (said := reader.line()) != "ready":
            print(f"{title}: {said}", file=sys.stderr)
        return reader

    def line(self) -> str:
        """The next line that it says. Raises `ServerFailed` when it has ended."""
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        if not said:
            raise process.ServerFailed(f"{self.title} ended with {self.process.wait()}")
        return said.strip()

    def read(self, shape: Shape, count: int) -> Figures:
        """So many reads."""
        assert self.process.stdin is not None
        entities, features = shape
        self.process.stdin.write(json.dumps({"features": features, "entities": entities, "count": count}) + "\n")
        self.process.stdin.flush()
        found: Figures = json.loads(self.line())
        return found

    def stop(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)


@contextmanager
def redis_server(folder: Path) -> Iterator[int]:
    """A Redis of its own; its port."""
    port = process.free_port()
    command = ["redis-server", "--port", str(port), "--save", "", "--dir", str(folder), "--bind", "127.0.0.1"]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        interleaved.wait_open(port)
        yield port
    finally:
        running.terminate()
        running.wait(10)


def readers(folder: Path, redis: int, stack: ExitStack) -> list[Reader]:
    """Everybody who takes part in process."""
    feast = [str(FEAST.python), str(HERE / "peers" / "feast" / "reader.py")]
    path = {"PYTHONPATH": str(HERE.parent), "FEAST_USAGE": "False"}
    kaname = [sys.executable, "-m", "benchmarks.feature_reader", str(folder / "kaname")]
    started = []
    for title, command, extra in (
        (KANAME, kaname, {}),
        (SQLITE, [*feast, str(folder / "sqlite")], path),
        (REDIS, [*feast, str(folder / "redis"), f"127.0.0.1:{redis}"], path),
    ):
        started.append(Reader.start(title, command, extra))
        stack.callback(started[-1].stop)
    return started


def in_process(taking_part: Sequence[Reader], rounds: int) -> dict[Shape, dict[str, list[Figures]]]:
    """Figures of all readers by shape, round by round."""
    found: dict[Shape, dict[str, list[Figures]]] = {}
    for shape in SHAPES:
        counts = {}
        for reader in taking_part:
            first = reader.read(shape, 20)
            counts[reader.title] = max(50, int(WINDOW_S / (first["p50_us"] / 1e6)))
        for _ in range(rounds):
            for reader in taking_part:
                taken = found.setdefault(shape, {}).setdefault(reader.title, [])
                taken.append(reader.read(shape, counts[reader.title]))
    return found


# --- over HTTP ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Served:
    """A server, and how it is asked."""

    title: str
    server: process.Server
    key: str = ""

    def request(self, shape: Shape) -> Request:
        """The read of a shape."""
        entities, features = shape
        keys = [reading.name(i) for i in range(entities)]
        if not self.key:
            names = [f"users:f{i}" for i in range(features)]
            return json_request("/get-online-features", {"features": names, "entities": {"user_id": keys}})
        named = [{"user_id": key} for key in keys]
        asked: dict[str, Any] = {"entity": named[0]} if entities == 1 else {"entities": named}
        path = f"/api/v1/views/first_{features}/read"
        return json_request(path, asked).with_headers(("Authorization", f"Bearer {self.key}"))


def servers(folder: Path, stack: ExitStack) -> list[Served]:
    """Kaname's server and Feast's, on the folders that the readers have filled."""
    project = folder / "kaname"
    said = subject.kaname("-C", str(project), "key", "create", "--scope", "read:user", "--scope", "predict:*", "--json")
    port = process.free_port()
    kaname = process.Server.start(
        [subject.COMMAND, "serve", str(project), "--port", str(port)],
        environment({}),
        port,
        folder / "kaname.log",
        project,
    )
    stack.callback(kaname.stop)
    port = process.free_port()
    command = [
        str(FEAST.python.parent / "feast"),
        "-c",
        str(folder / "sqlite"),
        "serve",
        "-p",
        str(port),
        "--no-access-log",
    ]
    feast = process.Server.start(command, environment({"FEAST_USAGE": "False"}), port, folder / "feast.log", folder)
    stack.callback(feast.stop)
    found = [Served("Kaname", kaname, json.loads(said)["key"]), Served("Feast's server, SQLite", feast)]
    for one in found:
        one.server.wait_until(one.request(SHAPES[0]))
    return found


def over_http(taking_part: Sequence[Served], rounds: int) -> dict[Shape, dict[str, list[Figures]]]:
    """The same over HTTP: CPU of the server per request, and what the client waited for."""
    found: dict[Shape, dict[str, list[Figures]]] = {}
    for shape in SHAPES:
        for _ in range(rounds):
            for one in taking_part:
                before = one.server.cpu_s()
                seen = load.run(one.server.port, one.request(shape), connections=CONNECTIONS, seconds=2)
                if seen.refused or not seen.requests:
                    raise load.LoadFailed(f"{one.title}: {seen.refused} of {seen.requests} refused")
                cpu_us = (one.server.cpu_s() - before) / seen.requests * 1e6
                figures = {"cpu_us": cpu_us, "p50_us": seen.p50_ms * 1e3, "p99_us": seen.p99_ms * 1e3}
                found.setdefault(shape, {}).setdefault(one.title, []).append(figures)
    return found


# --- predictions --------------------------------------------------------------------------------------------


def with_a_view(server: process.Server, key: str, rounds: int) -> list[tuple[float, float]]:
    """CPU µs of a prediction whose request brings ten features, and of one that has them read, in turns."""
    auth = ("Authorization", f"Bearer {key}")
    path = "/api/v1/models/score/predict"
    given = json_request(path, {"features": {f"f{i}": reading.value(7, i) for i in range(10)}}).with_headers(auth)
    read = json_request(path, {"entity": {"user_id": reading.name(7)}}).with_headers(auth)
    answers = [json.loads(process.send(server.port, request)[1])["prediction"] for request in (given, read)]
    assert answers[0] == answers[1], answers
    pairs: list[interleaved.Variant] = [("given", server, given, "http"), ("read", server, read, "http")]
    for variant in pairs:
        interleaved.cost_us(variant, 1)
    return [(interleaved.cost_us(pairs[0], 2), interleaved.cost_us(pairs[1], 2)) for _ in range(rounds)]


def add_model(project: Path) -> None:
    """A model that takes the first ten features."""
    import joblib
    import pandas as pd
    from sklearn.linear_model import LinearRegression

    rows = pd.DataFrame([{f"f{j}": reading.value(i, j) ** (1 + j / 10) for j in range(10)} for i in range(200)])
    joblib.dump(LinearRegression().fit(rows, rows["f0"]), project / "score.joblib")
    rows.head().to_csv(project / "score.csv", index=False)
    sample = ("--sample", str(project / "score.csv"), "--trust-pickle", "--view", "first_10")
    subject.kaname("-C", str(project), "model", "add", "score", str(project / "score.joblib"), *sample)


# --- writes -------------------------------------------------------------------------------------------------


def bulk_rows_per_s(folder: Path, rows: int) -> float:
    """Rows of ten numbers a second from Arrow into the embedded store, durable."""
    feature_reader.make(folder, features=10)
    numbers = np.random.default_rng(7).random((10, rows))
    table = pa.table({"user_id": [f"bulk{i:08d}" for i in range(rows)]} | {f"f{i}": numbers[i] for i in range(10)})
    with Platform(folder) as platform:
        platform.features.relation("user")
        began = time.perf_counter()
        platform.features.load("user", table)
        took = time.perf_counter() - began
        assert platform.features.relation("user").get({"user_id": f"bulk{rows - 1:08d}"}) is not None
    return rows / took


def mixed(folder: Path, seconds: float) -> dict[str, float]:
    """15,000 reads and as many writes of a row a second, from one event loop: what `benchmarks.cells` puts on."""
    store = LmdbCells(folder, SystemClock())
    store.define(cells.TABLE)
    load_ = cells.Mixed(store, seconds)
    began = time.perf_counter()
    asyncio.run(load_.run())
    took = time.perf_counter() - began
    there = sum(1 for i in range(len(load_.writes)) if store.get(cells.TABLE.name, cells.key(i)))
    store.close()
    both = load_.reads + load_.writes
    return {
        "seconds": seconds,
        "per_s": len(both) / took,
        "p99_ms": cells.at(both, 0.99),
        "lost": len(load_.writes) - load_.lost - there,
    }


# --- the page -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Found:
    """All that was measured."""

    embedded: dict[Shape, dict[str, list[Figures]]]
    served: dict[Shape, dict[str, list[Figures]]]
    predicted: list[tuple[float, float]]
    bulk: float
    mixed: dict[str, float]


def section(found: Found) -> str:
    """The part of the page."""
    facts = ", ".join(f"{name} {value}" for name, value in describe().items())
    about = (
        f"Written by `make bench-features`. Machine: {facts}; Feast {version(FEAST)}. {reading.ENTITIES:,} entities of "
        f"{reading.FEATURES} numbers. Every reader has a process and one core; they are asked in turns, medians of the "
        f"rounds. CPU of the process per read in µs, the 99th percentile of a read in brackets."
    )
    http = f"Over HTTP, {CONNECTIONS} connections, CPU of the server per request in µs:"
    return "\n\n".join(
        ["## Features", about, _table(found.embedded, KANAME), http, _table(found.served, "Kaname"), _goals(found)]
    )


def _goals(found: Found) -> str:
    small, served = found.embedded[1, 10], found.served[1, 10]
    slow = spread([one["p99_us"] for one in small[KANAME]]).median
    http = next(title for title in served if title != "Kaname")
    in_process_times = f"{times(small, SQLITE, KANAME):.0f}"
    http_times = f"{times(served, http, 'Kaname'):.0f}"
    more = spread([read - given for given, read in found.predicted])
    rows = [
        ["in process, 1 entity, 10 features: CPU, Feast with SQLite × Kaname", "≥ 40", in_process_times],
        ["the same: p99, µs", "≤ 50", f"{slow:.0f}"],
        ["over HTTP, 1 entity, 10 features: CPU, Feast's server × Kaname", "≥ 40", http_times],
        ["a prediction that has ten features read: more CPU than one that brings them, µs", "≤ 25", f"{more:.1f}"],
        ["bulk load from Arrow, rows of ten numbers per second", "≥ 100,000", f"{found.bulk:,.0f}"],
        [
            f"reads and writes of one row, half of each, per second, for {found.mixed['seconds']:.0f} s",
            "30,000",
            f"{found.mixed['per_s']:,.0f}",
        ],
        ["the same: p99 from the moment each was due, ms", "≤ 10", f"{found.mixed['p99_ms']:.1f}"],
        ["the same: confirmed rows that are not there", "0", f"{found.mixed['lost']:.0f}"],
    ]
    return table(["what", "goal", "measured"], rows)


def _table(found: dict[Shape, dict[str, list[Figures]]], ours: str) -> str:
    titles = list(next(iter(found.values())))
    others = [title for title in titles if title != ours]
    head = ["a read of", ours, *(part for title in others for part in (title, "×"))]
    rows = []
    for (entities, features), taken in found.items():
        cells = [f"{entities} {'entity' if entities == 1 else 'entities'}, {features} features", _cell(taken[ours])]
        for title in others:
            cells += [_cell(taken[title]), f"{times(taken, title, ours):.0f}"]
        rows.append(cells)
    return table(head, rows)


def _cell(taken: list[Figures]) -> str:
    cpu, slow = (spread([one[name] for one in taken]).median for name in ("cpu_us", "p99_us"))
    digits = ",.1f" if cpu < 100 else ",.0f"
    return f"{cpu:{digits}} ({slow:{digits}})"


def times(taken: dict[str, list[Figures]], title: str, ours: str) -> float:
    """How many times our CPU another one takes, paired by rounds."""
    return ratios([one["cpu_us"] for one in taken[title]], [one["cpu_us"] for one in taken[ours]]).median


def main() -> None:
    """Measure, and write or print."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--rounds", type=int, default=ROUNDS)
    options.add_argument("--mixed-s", type=float, default=60.0)
    options.add_argument("--bulk-rows", type=int, default=500_000)
    asked = options.parse_args()
    install(FEAST)
    with tempfile.TemporaryDirectory() as name, redis_server(Path(name)) as redis:
        folder = Path(name)
        with ExitStack() as stack:
            embedded = in_process(readers(folder, redis, stack), asked.rounds)
        add_model(folder / "kaname")
        with ExitStack() as stack:
            taking_part = servers(folder, stack)
            served = over_http(taking_part, max(1, asked.rounds // 2))
            predicted = with_a_view(taking_part[0].server, taking_part[0].key, asked.rounds)
        bulk = bulk_rows_per_s(folder / "bulk", asked.bulk_rows)
        both = mixed(folder / "mixed", asked.mixed_s)
    text = section(Found(embedded, served, predicted, bulk, both))
    print(text)
    if asked.rounds >= ROUNDS:
        sections.put("features", text)


if __name__ == "__main__":
    main()
