"""Reading features, beside Feast on the same rows: in process and over HTTP.

python -m benchmarks.features                 writes its part of docs/benchmarks.md (10 minutes)
python -m benchmarks.features --rounds 1      prints it

Needs wrk, redis-server, Java and Maven (for Cassandra).

1,000 entities with 100 numbers each. Every reader is a process of its own, on one core; they are asked in turns, and
each checks what it reads. CPU is that of the whole process, per read.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks import cells, feature_reader, interleaved, load, process, reading, sections, subject
from benchmarks.contestants import install, version
from benchmarks.feature_sides import (
    EMBEDDED,
    FEAST,
    FEAST_SQLITE,
    LIKE,
    OTHERS,
    Figures,
    Reader,
    Served,
    Shape,
    cassandra_server,
    readers,
    redis_server,
    servers,
    sides,
)
from benchmarks.machine import describe
from benchmarks.report import table
from benchmarks.request import json_request
from benchmarks.stats import ratios, spread
from kaname.clock import SystemClock
from kaname.platform import Platform
from kaname.storage.cells.lmdb.store import LmdbCells

ROUNDS, WINDOW_S, CONNECTIONS = 5, 0.4, 16
SHAPES = ((1, 10), (1, 100), (100, 10), (100, 100))
"""Entities and features of a read."""


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


def over_http(taking_part: Sequence[Served], rounds: int) -> dict[Shape, dict[str, list[Figures]]]:
    """The same over HTTP: CPU of the server per request, and what the client waited for."""
    found: dict[Shape, dict[str, list[Figures]]] = {}
    for shape in SHAPES:
        for _ in range(rounds):
            for one in taking_part:
                before = one.server.cpu_s()
                seen = load.run(one.server.port, *one.requests(shape), connections=CONNECTIONS, seconds=2)
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
        f"rounds. CPU of the process per read in µs, without that of Redis and Cassandra; the 99th percentile of a "
        f"read in brackets. ×: CPU as a multiple of Kaname's, embedded; for Feast with Redis, of Kaname's with Redis. "
        f"Of the three in front of Cassandra one keeps rows in its process (L1, the default), one in Redis (L2, and "
        f"no L1), and one nowhere."
    )
    http = f"Over HTTP, {CONNECTIONS} connections, {OTHERS} requests in turns, CPU of the server per request in µs:"
    return "\n\n".join(["## Features", about, _table(found.embedded), http, _table(found.served), _goals(found)])


def _goals(found: Found) -> str:
    small, served = found.embedded[1, 10], found.served[1, 10]
    slow = spread([one["p99_us"] for one in small[EMBEDDED]]).median
    more = spread([read - given for given, read in found.predicted])
    rows = [
        [
            "in process, 1 entity, 10 features: CPU, Feast with SQLite × Kaname",
            "≥ 40",
            f"{times(small, FEAST_SQLITE):.0f}",
        ],
        ["the same: p99, µs", "≤ 50", f"{slow:.0f}"],
        [
            "over HTTP, 1 entity, 10 features: CPU, Feast's server × Kaname",
            "≥ 40",
            f"{times(served, FEAST_SQLITE):.0f}",
        ],
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


def _table(found: dict[Shape, dict[str, list[Figures]]]) -> str:
    others = [title for title in next(iter(found.values())) if title != EMBEDDED]
    head = ["a read of", EMBEDDED, *(part for title in others for part in (title, "×"))]
    rows = []
    for (entities, features), taken in found.items():
        cells = [f"{entities} {'entity' if entities == 1 else 'entities'}, {features} features", _cell(taken[EMBEDDED])]
        for title in others:
            factor = times(taken, title)
            cells += [_cell(taken[title]), f"{factor:.0f}" if factor >= 10 else f"{factor:.1f}"]
        rows.append(cells)
    return table(head, rows)


def _cell(taken: list[Figures]) -> str:
    cpu, slow = (spread([one[name] for one in taken]).median for name in ("cpu_us", "p99_us"))
    digits = ",.1f" if cpu < 100 else ",.0f"
    return f"{cpu:{digits}} ({slow:{digits}})"


def times(taken: dict[str, list[Figures]], title: str) -> float:
    """How many times the CPU of what it is compared with, paired by rounds."""
    ours = taken[LIKE.get(title, EMBEDDED)]
    return ratios([one["cpu_us"] for one in taken[title]], [one["cpu_us"] for one in ours]).median


def main() -> None:
    """Measure, and write or print."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--rounds", type=int, default=ROUNDS)
    options.add_argument("--mixed-s", type=float, default=60.0)
    options.add_argument("--bulk-rows", type=int, default=500_000)
    asked = options.parse_args()
    install(FEAST)
    with ExitStack() as whole:
        folder = Path(whole.enter_context(tempfile.TemporaryDirectory()))
        redis, cassandra = whole.enter_context(redis_server(folder)), whole.enter_context(cassandra_server(folder))
        all_sides = sides(folder, redis, cassandra)
        with ExitStack() as stack:
            embedded = in_process(readers(all_sides, stack), asked.rounds)
        add_model(folder / "embedded")
        with ExitStack() as stack:
            taking_part = servers(all_sides, stack, SHAPES[0])
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
