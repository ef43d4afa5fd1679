"""One session of Kaname's on the processor and on a CUDA device, batch by batch, interleaved.

python -m benchmarks.devices                      measures, and writes its part of docs/benchmarks.md
python -m benchmarks.devices --to FIGURES.json    measures on a machine that has no copy of the page to keep
python -m benchmarks.devices --from FIGURES.json  writes what was measured there

Needs onnxruntime-gpu in the place of onnxruntime; a minute.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine, sections
from benchmarks.models import BenchModel, build
from kaname.models.importing.optimizers import optimize
from kaname.runtimes.catalog import begin, open_session
from kaname.runtimes.device_memory import used_bytes
from kaname.runtimes.onnx import describe
from kaname.runtimes.types import Session, SessionOptions
from kaname.signature import OutputSpec, Signature

MODELS, BATCHES = ("mlp", "cnn"), (1, 16, 256)
ROUNDS, SECONDS = 3, 0.4
MIB = 1024 * 1024


def _signature(path: Path) -> Signature:
    inputs, outputs = describe(path)
    specs = tuple(OutputSpec(name=o.name, datatype=o.datatype, shape=o.shape) for o in outputs)
    return Signature(task="other", inputs=inputs, outputs=specs)


def _card() -> str:
    asked = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader", "--id=0"]
    name, driver = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip().split(", ")
    return f"{name} (driver {driver})"


def _sessions(model: BenchModel, folder: Path, card: str, cores: int) -> dict[str, tuple[Session, int]]:
    """What takes part, by the name of its row, with what it took of the device."""
    signature = _signature(model.path)
    half = folder / f"{model.name}-half.onnx"
    optimize("float16", model.path, half, None, ())
    on_device = SessionOptions(device="cuda")
    begin("onnx", on_device)
    ways = {
        "CPU, 1 thread": (model.path, SessionOptions()),
        f"CPU, {cores} threads": (model.path, SessionOptions(threads=cores)),
        card: (model.path, on_device),
        f"{card}, float16": (half, on_device),
    }
    found = {}
    for name, (path, options) in ways.items():
        before = used_bytes()
        session = open_session("onnx", path, signature, options)
        session.run((model.row[None],))
        found[name] = (session, used_bytes() - before)
    return found


def _us(session: Session, rows: np.ndarray) -> float:
    taken: list[float] = []
    until = time.perf_counter() + SECONDS
    while time.perf_counter() < until or not taken:
        start = time.perf_counter()
        session.run((rows,))
        taken.append(time.perf_counter() - start)
    return statistics.median(taken) * 1e6


def _of_model(model: BenchModel, folder: Path, card: str, cores: int) -> dict[str, Any]:
    there = _sessions(model, folder, card, cores)
    draw = np.random.default_rng(47)
    found: dict[str, Any] = {name: {"device_bytes": taken, "us": {}} for name, (_, taken) in there.items()}
    for batch in BATCHES:
        rows = draw.normal(size=(batch, *model.row.shape)).astype(np.float32)
        seen: dict[str, list[float]] = {name: [] for name in there}
        (exact,) = there["CPU, 1 thread"][0].run((rows,))
        for name, (session, _) in there.items():
            (answer,) = session.run((rows,))
            worst = float(np.abs(answer - exact).max())
            found[name]["difference"] = max(worst, found[name].get("difference", 0.0))
        for _ in range(ROUNDS):
            for name, (session, _) in there.items():
                seen[name].append(_us(session, rows))
        for name, each in seen.items():
            found[name]["us"][str(batch)] = statistics.median(each)
            print(f"{model.name}, {batch} rows, {name}: {statistics.median(each):,.0f} µs", flush=True)
    for session, _ in there.values():
        session.close()
    return found


def measure() -> dict[str, Any]:
    """Every model on everything that is there."""
    about = machine.describe()
    card = _card()
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        models = build(Path(name))
        found = {which: _of_model(models[which], Path(name), card.partition(" (")[0], cores) for which in MODELS}
    import onnxruntime  # its package has another name than the machine's description looks for

    version = onnxruntime.__version__
    return {"card": card, "onnxruntime": version, "machine": about, "models": found, "taken": time.strftime("%Y-%m-%d")}


def _about(found: dict[str, Any]) -> str:
    about = found["machine"]
    return (
        f"{found['card']}, beside {about['cores']} cores of {about['CPU']}; onnxruntime-gpu {found['onnxruntime']}, "
        f"{found['taken']}. One session as a worker opens it, from an array in memory to the answer in memory, "
        "copies included: µs per run, and rows a second in the largest batch. `difference`: the largest from one "
        "thread of the processor, over all probabilities of all batches."
    )


def section(found: dict[str, Any]) -> str:
    """The part of the page."""
    heads = [f"{batch} row{'s' if batch > 1 else ''}" for batch in BATCHES]
    lines = [
        "## On a device",
        "",
        _about(found),
        "",
        "| model | where | " + " | ".join(heads) + f" | rows/s at {BATCHES[-1]} | difference | of the device, MiB |",
        "|---|---|" + "---:|" * (len(heads) + 3),
    ]
    for model, ways in found["models"].items():
        for name, one in ways.items():
            times = [one["us"][str(batch)] for batch in BATCHES]
            cells = [f"{us:,.0f}" for us in times] + [f"{BATCHES[-1] / times[-1] * 1e6:,.0f}"]
            cells += [f"{one['difference']:.1g}", f"{one['device_bytes'] / MIB:,.0f}" if one["device_bytes"] else ""]
            lines.append(f"| {model} | {name} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", "`python -m benchmarks.devices` measures again."])


def main() -> None:
    """Measure, or take what was measured; keep it, or write the page."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--to", type=Path)
    options.add_argument("--from", type=Path, dest="source")
    chosen = options.parse_args()
    found = measure() if chosen.source is None else json.loads(chosen.source.read_text())
    if chosen.to is not None:
        chosen.to.write_text(json.dumps(found, indent=1))
    else:
        sections.put("devices", section(found))


if __name__ == "__main__":
    main()
