"""Many more models than memory on one worker: `python -m benchmarks.density [--short]`.

10,000 small models, each with weights of its own, take more than twice the larger budget. One worker on one core serves
them to Zipf traffic at a constant rate from the other core, after a minute of the same traffic to warm up. The same
server answers the same rate for one model alone before. Measured: the share of requests that found their model in
memory, latencies of a model's first request and of the models that are asked most, and the process' memory over time.
Writes its part of `docs/benchmarks.md` and `docs/density.svg`; `--short` prints it only.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Self

from benchmarks import machine, sections
from benchmarks.density_load import HOTTEST
from benchmarks.density_models import FEATURES, name_of, register
from benchmarks.process import CLIENT_CORE, Server, free_port, pinned
from benchmarks.report import table
from benchmarks.request import Request
from kaname.project import load_valid
from kaname.stores import Stores

COMMAND = str(Path(sys.executable).parent / "kaname")
PLOT = sections.PAGE.with_name("density.svg")
MEAN_BYTES = 300_000
EXPONENT = 1.0
GIB = 1 << 30
CONNECTIONS = 256
"""So many that no request waits behind another one's load: answers on one connection keep their order."""
MEMORY = Path("/dev/shm")
BODY = json.dumps({"features": [0.5] * FEATURES})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", type=int, default=10_000)
    parser.add_argument("--budgets", nargs="+", type=float, default=[2.0, 0.5], help="GiB")
    parser.add_argument("--rate", type=float, default=300.0, help="requests per second")
    parser.add_argument("--seconds", type=float, default=40.0, help="of each measured run")
    parser.add_argument("--warm-seconds", type=float, default=40.0)
    parser.add_argument("--prepared", type=Path, help="a folder for the models, which stays for the next run")
    parser.add_argument("--prepare-only", action="store_true", help="register the models and stop")
    parser.add_argument("--short", action="store_true", help="1,000 models and a few seconds; writes nothing")
    asked = parser.parse_args()
    if asked.short:
        asked.models, asked.budgets, asked.seconds, asked.warm_seconds = 1_000, [0.2, 0.05], 8.0, 8.0
    folder = asked.prepared or Path(tempfile.mkdtemp(prefix="kaname-density-", dir=MEMORY if MEMORY.is_dir() else None))
    try:
        plan = prepare(folder, asked.models)
        text = "" if asked.prepare_only else measure(folder, plan, asked)
    finally:
        if asked.prepared is None:
            shutil.rmtree(folder, ignore_errors=True)
    print(text)
    if not (asked.short or asked.prepare_only):
        sections.put("density", text)


def prepare(folder: Path, models: int) -> dict[str, Any]:
    """Register the models, unless the folder has them; returns the key to ask them with, and their sizes."""
    known = folder / "density.json"
    if not known.exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "kaname.yaml").write_text("name: density\n")
        stores = Stores(load_valid(folder, os.environ))
        began = time.monotonic()
        sizes = register(stores, models, MEAN_BYTES)
        print(f"{models:,} models registered in {time.monotonic() - began:.0f} s", file=sys.stderr)
        key = stores.keys.create("load", ("predict:*",), who="benchmark")[1]
        stores.close()
        known.write_text(json.dumps({"key": key, "sizes": sizes}))
    found: dict[str, Any] = json.loads(known.read_text())
    return found


def measure(folder: Path, plan: dict[str, Any], asked: argparse.Namespace) -> str:
    """Run every budget; returns the part of the page."""
    runs = [Run(folder, plan["key"], budget, asked).measured() for budget in asked.budgets]
    if not asked.short:
        _plot(runs)
    return _text(runs, plan["sizes"], asked)


class Run:
    """One server with one budget."""

    def __init__(self, folder: Path, key: str, budget: float, asked: argparse.Namespace) -> None:
        self._folder = folder
        self._key = key
        self._budget = int(budget * GIB)
        self._asked = asked
        self._port = free_port()

    def measured(self) -> dict[str, Any]:
        """One model alone, the warm-up, the measured run, the account."""
        settings = f"inference: {{memory_bytes: {self._budget}, preload: 0}}\n"
        (self._folder / "kaname.yaml").write_text("name: density\n" + settings)
        began = time.monotonic()
        command = [COMMAND, "serve", str(self._folder), "--port", str(self._port)]
        server = Server.start(command, dict(os.environ), self._port, self._folder / "log", self._folder)
        try:
            server.wait_until(Request("/health/ready", b"", (), "GET"))
            start_s = time.monotonic() - began
            with Watched(server) as watched:
                return {"budget": self._budget, "start_s": start_s, "memory": watched.samples} | self._load()
        finally:
            server.stop()

    def _load(self) -> dict[str, Any]:
        asked = self._asked
        alone = self._drive(1, asked.seconds / 2, 1, [])
        warm = self._drive(asked.models, asked.warm_seconds, 2, [])
        before = self._account()
        found = self._drive(asked.models, asked.seconds, 3, warm["seen"])
        after = self._account()
        loads = after["loads"] - before["loads"]
        return {"alone": alone, "warm": warm, "run": found, "loads": loads, "account": after}

    def _drive(self, models: int, seconds: float, seed: int, known: list[int]) -> dict[str, Any]:
        plan = {
            "port": self._port, "key": self._key, "body": BODY, "names": [name_of(n) for n in range(models)],
            "exponent": EXPONENT, "rate_per_s": self._asked.rate, "seconds": seconds, "seed": seed, "known": known,
            "connections": CONNECTIONS,
        }  # fmt: skip
        path = self._folder / "plan.json"
        path.write_text(json.dumps(plan))
        driver = pinned(CLIENT_CORE, [sys.executable, "-m", "benchmarks.density_load", str(path)])
        done = subprocess.run(driver, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
        if done.returncode:
            raise SystemExit(done.stderr)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def _account(self) -> dict[str, Any]:
        command = [COMMAND, "-C", str(self._folder), "residency", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found: dict[str, Any] = json.loads(done.stdout)["total"]
        return found


class Watched:
    """The memory of a server's worker, twice a second: seconds since the start, bytes."""

    def __init__(self, server: Server) -> None:
        self.samples: list[tuple[float, int]] = []
        self._server = server
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        began = time.monotonic()
        while not self._over.wait(0.5):
            self.samples.append((time.monotonic() - began, self._server.largest_resident_bytes()))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def _text(runs: list[dict[str, Any]], sizes: list[int], asked: argparse.Namespace) -> str:
    head = ["", *(f"{run['budget'] / GIB:g} GiB" for run in runs)]
    lines: list[tuple[str, Any]] = [
        ("start with all of them registered, s", lambda r: f"{r['start_s']:.1f}"),
        ("models asked in the run", lambda r: f"{r['run']['models']:,}"),
        ("in memory at its end", lambda r: f"{r['account']['resident']:,}"),
        ("hit ratio", lambda r: f"{1 - r['loads'] / r['run']['sent']:.1%}"),
        ("loads, evictions per second", lambda r: f"{r['loads'] / asked.seconds:.0f}"),
        ("failed or unanswered", lambda r: str(r["run"]["failed"] + r["run"]["unanswered"])),
        ("one model alone, p50 ms", lambda r: _ms(r["alone"]["all"], "p50")),
        ("one model alone, p99 ms", lambda r: _ms(r["alone"]["all"], "p99")),
        (f"warm (the {HOTTEST} most asked), p50 ms", lambda r: _ms(r["run"]["hottest"], "p50")),
        (f"warm (the {HOTTEST} most asked), p99 ms", lambda r: _ms(r["run"]["hottest"], "p99")),
        ("warm p99, × one model alone (goal: ≤ 2)", lambda r: f"{_ratio(r):.1f}"),
        ("cold (a model's first request), p50 ms", lambda r: _ms(r["run"]["first"], "p50")),
        ("cold (a model's first request), p99 ms", lambda r: _ms(r["run"]["first"], "p99")),
        ("all requests, p99 ms", lambda r: _ms(r["run"]["all"], "p99")),
        ("largest memory of the process, MiB", lambda r: f"{max(size for _, size in r['memory']) / 2**20:,.0f}"),
        ("accounted of what the process uses", lambda r: f"{_accounted(r):.1%}"),
        ("of it slack", lambda r: f"{r['account']['memory']['slack'] / r['account']['memory']['resident']:.1%}"),
    ]
    rows = [[what, *(cell(run) for run in runs)] for what, cell in lines]
    facts = ", ".join(f"{name} {value}" for name, value in machine.describe().items() if name != "wrk")
    return (
        "## Many models\n\n"
        f"Written by `make bench-density`. Machine: {facts}. {asked.models:,} models of {min(sizes) / 1024:.0f} to "
        f"{max(sizes) / 1024:.0f} KiB in memory, {sum(sizes) / GIB:.1f} GiB together; one worker on one core; "
        f"{asked.rate:,.0f} requests a second on {CONNECTIONS} connections, sent whether or not answers come, the "
        f"models drawn by Zipf's law (exponent {EXPONENT:g}); {asked.warm_seconds:.0f} s of warm-up, "
        f"{asked.seconds:.0f} s measured. A latency counts from the intended moment.\n\n{table(head, rows)}\n"
        + ("" if asked.short else "\n![Memory of the worker over time](density.svg)\n")
    )


def _ms(found: dict[str, float], name: str) -> str:
    return f"{found[name]:.2f}"


def _ratio(run: dict[str, Any]) -> float:
    return float(run["run"]["hottest"]["p99"] / run["alone"]["all"]["p99"])


def _accounted(run: dict[str, Any]) -> float:
    memory = run["account"]["memory"]
    return float((memory["interpreter"] + memory["sessions"] + memory["slack"]) / memory["resident"])


def _plot(runs: list[dict[str, Any]]) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    for run in runs:
        label = f"{run['budget'] / GIB:g} GiB"
        seconds, sizes = zip(*run["memory"], strict=True)
        (line,) = axes.plot(seconds, [size / 2**20 for size in sizes], label=f"budget {label}")
        axes.axhline(run["budget"] / 2**20, color=line.get_color(), linestyle=":", linewidth=1)
    axes.set(xlabel="seconds", ylabel="resident, MiB", title="Memory of the worker; dotted: the budget of its models")
    axes.legend()
    figure.savefig(PLOT)


if __name__ == "__main__":
    main()
