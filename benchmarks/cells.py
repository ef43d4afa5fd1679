"""What a cell store costs: reads in µs, bulk writes in rows/s, one durable write in ms.

    python -m benchmarks.cells [--rows 100000] [--mixed-s 10] [--folder DIR]
    python -m benchmarks.cells --store cassandra | hbase [--rows 20000]      of `make services`

Rows of ten cells of nine bytes. Reads are the best of several rounds; writes are durable, with fsync on the disk of
DIR. Writes are measured in the process that owns writing, and in another one that hands its batches over. The mixed
load is 15,000 reads and as many writes of one row a second, from one event loop, whether or not earlier ones are done.
Both are asked of the embedded store only.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from kaname.clock import SystemClock
from kaname.errors import KanameError
from kaname.settings import CellsSettings
from kaname.storage.cells.gathering import Gathering
from kaname.storage.cells.lmdb.store import LmdbCells
from kaname.storage.cells.opening import open_cells
from kaname.storage.cells.types import CellStore, Family, Put, Table

TABLE = Table("bench", {"f": Family(), "packed": Family(), "brief": Family(ttl_s=86_400.0, versions=3)})
LED = Table("bench_led", {"f": Family()}, lead_bytes=3)
"""Rows that begin alike lie together."""
VALUES = {b"attr%02d" % i: os.urandom(9) for i in range(10)}
PACKED = {b"": os.urandom(90)}
PER_BATCH = 1000
THREADS = 16
ROUNDS = 7
MIXED_PER_MS = 15


def key(number: int) -> bytes:
    """The row of an entity, one that only this process writes."""
    return b"user%d.%08d" % (os.getpid(), number)


def micros(call: Callable[[], object], count: int) -> float:
    """µs per call, in the best round."""
    rounds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(count):
            call()
        rounds.append((time.perf_counter() - began) / count * 1e6)
    return min(rounds)


def bulk(store: CellStore, rows: int, family: str, values: dict[bytes, bytes]) -> float:
    """Rows/s of durable batches."""
    batches = [
        [Put(TABLE.name, key(row), family, values) for row in range(first, first + PER_BATCH)]
        for first in range(0, rows, PER_BATCH)
    ]
    began = time.perf_counter()
    for batch in batches:
        store.write(batch)
    return rows / (time.perf_counter() - began)


def commits(store: CellStore, threads: int, each: int = 200) -> tuple[float, float, float]:
    """Median and 99th percentile in ms of a write of one row, and how many of them a second."""
    times: list[float] = []

    def write() -> None:
        for i in range(each):
            began = time.perf_counter()
            store.write([Put(TABLE.name, key(i), "f", VALUES)])
            times.append((time.perf_counter() - began) * 1e3)

    running = [threading.Thread(target=write) for _ in range(threads)]
    began = time.perf_counter()
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    rate = len(times) / (time.perf_counter() - began)
    return at(times, 0.5), at(times, 0.99), rate


def at(times: list[float], share: float) -> float:
    """A quantile."""
    return sorted(times)[int(len(times) * share)]


class Mixed:
    """Reads and writes at a fixed pace; times in ms count from the moment when each was due."""

    def __init__(self, store: CellStore, seconds: float) -> None:
        self.store = store
        self.steps = int(seconds * 1000)
        self.reads: list[float] = []
        self.writes: list[float] = []
        self.lost = 0

    async def run(self) -> None:
        """Put the load on; returns when every write is confirmed."""
        gathering = Gathering(self.store, asyncio.get_running_loop())
        began = time.perf_counter()
        for step in range(self.steps):
            due = began + step / 1000
            if (early := due - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            elif step % 10 == 0:
                await asyncio.sleep(0)
            for i in range(step * MIXED_PER_MS, (step + 1) * MIXED_PER_MS):
                self.one(gathering, i, due)
        await asyncio.to_thread(gathering.close)
        await asyncio.sleep(0)

    def one(self, gathering: Gathering, number: int, due: float) -> None:
        """Write a row, and read another."""

        def done(error: KanameError | None) -> None:
            self.writes.append((time.perf_counter() - due) * 1e3)
            self.lost += error is not None

        gathering.write([Put(TABLE.name, key(number), "f", VALUES)], done)
        self.store.get(TABLE.name, key(number // 2), {"f": None})
        self.reads.append((time.perf_counter() - due) * 1e3)


def mixed(store: CellStore, seconds: float) -> None:
    """Print what reads and writes take beside each other."""
    load = Mixed(store, seconds)
    began, used = time.perf_counter(), time.process_time()
    asyncio.run(load.run())
    took, cpu = time.perf_counter() - began, time.process_time() - used
    there = sum(1 for i in range(len(load.writes)) if store.get(TABLE.name, key(i)))
    middle, slow = at(load.writes, 0.5), at(load.writes, 0.99)
    print(f"  reads: {len(load.reads) / took:,.0f}/s, p99 {at(load.reads, 0.99):.2f} ms")
    print(f"  writes: {len(load.writes) / took:,.0f}/s, p50 {middle:.2f} ms, p99 {slow:.2f} ms")
    print(f"  {len(load.writes)} rows confirmed, {load.lost} refused, {there} there; {cpu / took:.0%} of a core")


def writes(store: CellStore, rows: int) -> None:
    """Print what writing costs in this process."""
    print(f"  bulk, new rows: {bulk(store, rows, 'f', VALUES):,.0f} rows/s")
    print(f"  bulk, rows that are there: {bulk(store, rows, 'f', VALUES):,.0f} rows/s")
    for lead in range(20):
        store.write([Put(LED.name, lead.to_bytes(3, "big") + key(row), "f", VALUES) for row in range(100)])
    print(f"  bulk, one packed cell: {bulk(store, rows, 'packed', PACKED):,.0f} rows/s")
    print(f"  bulk, ttl and 3 versions: {bulk(store, rows, 'brief', VALUES):,.0f} rows/s")
    for threads in (1, THREADS):
        middle, slow, rate = commits(store, threads)
        print(f"  one row, {threads} at once: p50 {middle:.2f} ms, p99 {slow:.2f} ms, {rate:,.0f}/s")


def reads(store: CellStore, rows: int) -> None:
    """Print what reading costs."""
    one, many = key(rows // 2), [key(i * 37 % rows) for i in range(100)]
    columns, two, brief = {"f": None}, {"f": [b"attr03", b"attr07"]}, {"brief": None}
    gets, others = (20_000, 200) if isinstance(store, LmdbCells) else (300, 20)
    print(f"  get, 10 cells: {micros(lambda: store.get(TABLE.name, one, columns), gets):.2f} µs")
    print(f"  get, 2 of 10 cells: {micros(lambda: store.get(TABLE.name, one, two), gets):.2f} µs")
    print(f"  get, ttl and 3 versions: {micros(lambda: store.get(TABLE.name, one, brief), gets):.2f} µs")
    hundred = micros(lambda: store.get_many(TABLE.name, many, columns), others)
    print(f"  get_many, per row of 100: {hundred / 100:.2f} µs")

    def scan(table: Table, first: bytes, end: bytes | None = None) -> int:
        found = len(list(store.scan(table.name, first, end, columns=columns, limit=100)))
        assert found == 100, found
        return found

    print(f"  scan, per row of 100: {micros(lambda: scan(TABLE, one), others) / 100:.2f} µs")
    led = micros(lambda: scan(LED, b"\0\0\7", b"\0\0\x08"), others)
    print(f"  scan of rows that begin alike, per row of 100: {led / 100:.2f} µs")


def far(kind: Literal["cassandra", "hbase"], rows: int) -> None:
    """Measure a store that another process keeps, at its usual port."""
    store = open_cells(CellsSettings(kind=kind, addresses=("127.0.0.1",)), Path(), SystemClock())
    for table in (TABLE, LED):
        store.define(table)
    writes(store, rows)
    reads(store, rows)
    store.close()


def main() -> None:
    """Measure; a second process hands its writes to the first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--mixed-s", type=float, default=10.0)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--store", choices=["cassandra", "hbase"], help="one that runs on this machine")
    parser.add_argument("--peer", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        peer = LmdbCells(options.peer, SystemClock())
        writes(peer, options.rows)
        peer.close()
        return
    if options.store:
        far(options.store, options.rows)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        store = LmdbCells(Path(folder), SystemClock())
        for table in (TABLE, LED):
            store.define(table)
        print("writes, in the process that owns")
        writes(store, options.rows)
        print("reads", flush=True)
        reads(store, options.rows)
        print("mixed", flush=True)
        mixed(store, options.mixed_s)
        print("writes, in another process", flush=True)
        again = [sys.executable, "-m", "benchmarks.cells", "--peer", folder, "--rows", str(options.rows)]
        subprocess.run(again, check=True)
        store.close()


if __name__ == "__main__":
    main()
