"""A batch of the flights model against ONNX Runtime alone: `python -m benchmarks.batch [--rows N]`.

The limit: `session.run` of the model's ONNX file over the same rows, which already lie in memory as the matrix that
it takes, with one thread per core and as many rows at once as are fastest: nothing is read, mapped or written. The
batch: `kaname predict` on a Parquet, CSV or JSON lines file of these rows, on the same cores, from the start of the
process to the renamed output. The registry chooses the runtime; to compare like with like, `--runtime onnx` runs the
batch on ONNX Runtime as well. Both are measured in turns, several rounds; the medians are compared. `--write` puts the
result into `docs/benchmarks.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import machine, sections
from benchmarks.report import table
from kaname.batch.run import Run, Task
from kaname.batch.types import options_of
from kaname.models.types import VersionInfo
from kaname.platform import Platform
from kaname.runtimes.catalog import open_session
from kaname.runtimes.types import SessionOptions
from kaname.stores import Stores

FLIGHTS = Path(__file__).parents[1] / "examples" / "flights"
SIZES = (1_000, 4_096, 16_384, 65_536)
FORMATS = ("parquet", "csv", "jsonl")
GOAL = 1.3
LOOK_S = 0.02


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=500_000, help="10,000,000 is the claim's size")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--formats", nargs="+", default=["parquet"], choices=FORMATS)
    parser.add_argument("--runtime", choices=["chosen", "onnx"], default="chosen", help="of the batch")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    parser.add_argument("--folder", type=Path, default=None, help="for the files; a temporary one by default")
    asked = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: asked.cores])
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        found = compare(Path(name), asked)
    print(json.dumps(found, indent=2))
    if asked.write:
        sections.put("batch", page(found))


def compare(folder: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Medians in seconds, and each format's time as a multiple of the limit."""
    project = flights_project(folder / "project")
    stores = Stores(Platform(project).project)
    try:
        version = stores.models.version("delay", stores.models.get("delay").promoted or "")
        table = flights(asked.rows)
        files = {form: write(table, folder / f"rows.{form}") for form in asked.formats}
        matrix = as_matrix(version, table)
        del table
        run_raw = raw(stores, version, matrix, asked.cores)
        peaks: list[int] = []
        batches = {
            form: batch(stores, project, version, path, folder / f"out.{form}", asked, peaks)
            for form, path in files.items()
        }
        taken: dict[str, list[float]] = {"raw": [], **{form: [] for form in files}}
        for _ in range(asked.rounds):
            taken["raw"].append(run_raw())
            for form, run in batches.items():
                taken[form].append(run())
    finally:
        stores.close()
    medians = {name: round(statistics.median(found), 3) for name, found in taken.items()}
    ratios = {form: round(medians[form] / medians["raw"], 3) for form in files}
    return {
        "rows": asked.rows,
        "cores": asked.cores,
        "runtime": version.runtime if asked.runtime == "chosen" else "onnx",
        "seconds": taken,
        "median_s": medians,
        "rows_per_s": {name: round(asked.rows / found) for name, found in medians.items()},
        "times_raw": ratios,
        "largest_mib": max(peaks, default=0),
        "goal": GOAL,
        "met": all(ratio <= GOAL for ratio in ratios.values()),
    }


def page(found: dict[str, Any]) -> str:
    """The part of the page."""
    names = {"raw": "ONNX Runtime alone, rows in memory", **{form: f"`kaname predict`, {form}" for form in FORMATS}}
    rows = [
        [
            names[name],
            f"{median:.1f} ({min(found['seconds'][name]):.1f}–{max(found['seconds'][name]):.1f})",
            f"{found['rows_per_s'][name]:,}",
            f"{found['times_raw'].get(name, 1.0):.2f}",
        ]
        for name, median in found["median_s"].items()
    ]
    facts = ", ".join(f"{name} {value}" for name, value in machine.describe().items() if name != "wrk")
    held = f" The process held {found['largest_mib']:,} MiB at most." if found["largest_mib"] else ""
    return (
        f"## A batch of {found['rows']:,} rows\n\n"
        f"Written by `python -m benchmarks.batch --rows {found['rows']} --write`. Machine: {facts}. The flights model "
        f"(LightGBM, 100 trees) on {found['cores']} cores: its ONNX file run by ONNX Runtime over rows that lie in "
        "memory as the matrix that it takes, nothing read or written, against `kaname predict` from the start of the "
        f"process to the renamed file, with the runtime that the import chose ({found['runtime']}). Goal: at most "
        f"{found['goal']} times.{held}\n\n" + table(["what", "seconds", "rows/s", "× ONNX Runtime"], rows)
    )


# --- what is compared -----------------------------------------------------------------------------------


def raw(stores: Stores, version: VersionInfo, matrix: np.ndarray[Any, Any], cores: int) -> Callable[[], float]:
    """ONNX Runtime alone, with the batch size that is fastest on a part of the rows."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = cores, 1
    path = stores.artefacts.path(version.artefact) / "model.onnx"
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    rows = matrix.astype(np.float32 if given.type == "tensor(float)" else np.float64)

    def over(part: np.ndarray[Any, Any], size: int) -> float:
        start = time.perf_counter()
        for at in range(0, len(part), size):
            session.run(None, {given.name: part[at : at + size]})
        return time.perf_counter() - start

    few = rows[:131_072]
    best = min(SIZES, key=lambda size: min(over(few, size) for _ in range(2)))
    return lambda: over(rows, best)


def batch(
    stores: Stores,
    project: Path,
    version: VersionInfo,
    source: Path,
    output: Path,
    asked: argparse.Namespace,
    peaks: list[int],
) -> Callable[[], float]:
    """The command, or for `--runtime onnx` the same run with another session; the output is removed each time.

    `peaks` are told the most memory, in MiB, that the command's process held.
    """

    def command() -> float:
        output.unlink(missing_ok=True)
        start = time.perf_counter()
        words = ["predict", "delay", "-i", source, "-o", output, "--threads", asked.cores, "--json"]
        kaname = Path(sys.executable).with_name("kaname")
        command = [str(word) for word in (kaname, "-C", project, *words)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while process.poll() is None:
            peaks.append(_peak_mib(process.pid))
            time.sleep(LOOK_S)
        if process.returncode:
            raise SystemExit(f"kaname predict ended with {process.returncode}")
        return time.perf_counter() - start

    def on_onnx() -> float:
        output.unlink(missing_ok=True)
        start = time.perf_counter()
        path = stores.artefacts.path(version.artefact) / "model.onnx"
        task = Task(
            version=version,
            config=stores.models.get("delay").config,
            input=source,
            output=output,
            options=options_of(source, output, {}),
            threads=asked.cores,
        )
        one = SessionOptions(threads=1)
        Run(task, lambda: open_session("onnx", path, version.signature, one), stores.clock).run()
        return time.perf_counter() - start

    return command if asked.runtime == "chosen" else on_onnx


def _peak_mib(pid: int) -> int:
    """The most memory that a process has held so far, not what its parent had when it was started."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")), 0)


# --- the rows -------------------------------------------------------------------------------------------


def flights_project(folder: Path) -> Path:
    """A project with the model of `examples/flights`, trained if it is not yet."""
    model = FLIGHTS / "out" / "timetable.txt"
    if not model.exists():
        subprocess.run([sys.executable, "train.py"], cwd=FLIGHTS, check=True)
    folder.mkdir()
    (folder / "kaname.yaml").write_text("name: flights\n")
    with Platform(folder) as platform:
        platform.models.add("delay", model, who="benchmark", sample=FLIGHTS / "out" / "timetable-sample.json")
    return folder


def flights(count: int) -> pa.Table:
    """So many rows: the flights of January to September, over and over."""
    history = pd.read_parquet(FLIGHTS / "out" / "history.parquet")
    names = msgspec.json.decode((FLIGHTS / "out" / "timetable-sample.json").read_bytes())["features"]
    table = pa.Table.from_pandas(history[list(names)], preserve_index=False)
    return pa.concat_tables([table] * (count // len(table) + 1)).slice(0, count)


def write(table: pa.Table, path: Path) -> Path:
    """The rows as a file."""
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=131_072)
    elif path.suffix == ".csv":
        table.to_pandas().to_csv(path, index=False)
    else:
        table.to_pandas().to_json(path, orient="records", lines=True)
    return path


def as_matrix(version: VersionInfo, table: pa.Table) -> np.ndarray[Any, Any]:
    """The rows as the model takes them."""
    out = np.empty((len(table), len(version.signature.features)))
    for at, feature in enumerate(version.signature.features):
        column = table[feature.name].to_pandas()
        if feature.categories is not None:
            codes = pd.Index(feature.categories).get_indexer(column).astype(float)
            out[:, at] = np.where(codes < 0, np.nan, codes)
        else:
            out[:, at] = column.astype(float)
    return out


if __name__ == "__main__":
    if shutil.disk_usage(tempfile.gettempdir()).free < 2 << 30:
        raise SystemExit("not enough room for the files: --folder names another place")
    main()
