"""How fast rows go in and out of the embedded store in bulk: Arrow, rows of Python, lines of JSON, CSV, Parquet.

    python -m benchmarks.bulk [--rows 100000] [--folder DIR]

Rows of two key attributes, three float64, two int64, an int32, a text and a bool, in no order of their keys; durable,
on the disk of DIR. `packed`: one cell for each row, `apart`: one for each attribute. CPU is that of all threads.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa

from kaname.clock import SystemClock
from kaname.features.bulk.files import insert_file, write_file
from kaname.features.opened import Features
from kaname.features.schemas import schemas_in
from kaname.storage.cells.lmdb.store import LmdbCells

RELATION = """define relation r {
  user_id string key, at timestamp key, a float64, b float64, c float64, d int64, e int64, f int32, g string, h bool
};
"""
PACKED = 'define schema s for r on cells("main") { table "t", row size{user_id}:at, family "f", value pack[] };'
APART = PACKED.replace("value pack[]", "qualifier attr_name[], value attr_value[]")
BATCH = 20_000
ALL = "SELECT * FROM r ALLOW FILTERING"
T = datetime(2026, 1, 1, tzinfo=UTC)


def rows(count: int) -> list[dict[str, object]]:
    """Rows of five thousand users in turns."""
    return [
        {
            "user_id": f"user{i % 5000}", "at": T + timedelta(seconds=i), "a": i * 0.5, "b": 1.5, "c": -2.25, "d": i,
            "e": 7, "f": i % 1000, "g": "some text", "h": True,
        }
        for i in range(count)
    ]  # fmt: skip


def write_csv(made: list[dict[str, object]], path: Path) -> None:
    """The same as CSV."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(made[0])
        for row in made:
            writer.writerow([value.isoformat() if isinstance(value, datetime) else value for value in row.values()])


def timed(what: str, count: int, call: Callable[[], object]) -> None:
    """Print rows/s by the clock on the wall and by CPU time."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{what:28} {count / wall:>9,.0f} rows/s {count / cpu:>9,.0f} rows per CPU second")


def measure(name: str, schema: str, made: list[dict[str, object]], folder: Path) -> None:
    """One layout, each time in a new store but for what is read."""

    def opened(what: str) -> Features:
        where = folder / f"{name}-{what}"
        where.mkdir()
        return Features(lambda: schemas_in(RELATION + schema), lambda _: LmdbCells(where, SystemClock()), SystemClock())

    count, table = len(made), pa.Table.from_pylist(made)
    features = opened("arrow")
    timed(f"{name}: Arrow in", count, lambda: features.load("r", table))
    timed(f"{name}: Arrow out", count, lambda: features.query(ALL).table())
    timed(f"{name}: Parquet out", count, lambda: write_file(features.query(ALL), folder / "r.parquet"))
    timed(f"{name}: lines of JSON out", count, lambda: write_file(features.query(ALL), folder / "r.ndjson"))
    features.close()
    other = opened("rows").relation("r")
    timed(f"{name}: rows in", count, lambda: [other.insert(made[at : at + BATCH]) for at in range(0, count, BATCH)])
    write_csv(made, folder / "r.csv")
    for file in (folder / "r.parquet", folder / "r.ndjson", folder / "r.csv"):
        into = opened(file.suffix[1:]).relation("r")
        timed(f"{name}: {file.suffix[1:]} in", count, lambda: insert_file(into, file))  # noqa: B023  (called here)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, default=None)
    given = parser.parse_args()
    made = rows(given.rows)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        for name, schema in (("packed", PACKED), ("apart", APART)):
            measure(name, schema, made, Path(folder))


if __name__ == "__main__":
    main()
