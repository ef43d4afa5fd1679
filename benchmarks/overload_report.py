"""The overload benchmark as a table in `docs/benchmarks.md` and as a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.report import table
from benchmarks.sections import PAGE, put

PLOT = PAGE.with_name("overload.svg")
TITLES = {
    "kaname": "Kaname",
    "fastapi": "FastAPI + ONNX Runtime, by hand",
    "mlserver0": "MLServer, parallel_workers=0",
}


def text(points: Sequence[dict[str, float | str]], setup: str) -> str:
    """The section: how it was measured, the table, the plot."""
    head = ["server", "load", "offered/s", "in time/s", "refused/s", "p50 ms", "p99 ms", "time to a refusal, ms"]
    rows = [
        [
            TITLES[str(one["name"])],
            f"{one['load']:g}×",
            *(f"{one[name]:,.0f}" for name in ("offered_per_s", "good_per_s", "refused_per_s")),
            *(f"{one[name]:,.1f}" if one[name] else "" for name in ("p50_ms", "p99_ms", "refusal_ms")),
        ]
        for one in points
    ]
    return f"## Overload\n\n{setup}\n\n{table(head, rows)}\n\n![goodput and p99 over the offered load]({PLOT.name})"


def draw(points: Sequence[dict[str, float | str]], path: Path = PLOT) -> None:
    """Goodput, and p99 of what was answered, over the offered load."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "overload"  # the same figures give the same file
    from matplotlib import pyplot as plt  # after the backend is chosen

    figure, (goodput, latency) = plt.subplots(1, 2, figsize=(10, 4))
    for name, title in TITLES.items():
        mine = [one for one in points if one["name"] == name]
        loads = [one["load"] for one in mine]
        goodput.plot(loads, [one["good_per_s"] for one in mine], marker="o", label=title)
        latency.plot(loads, [one["p99_ms"] or None for one in mine], marker="o", label=title)
    goodput.set(title="answered in time, per second", xlabel="offered load, × capacity", ylim=(0, None))
    latency.set(title="p99 of what was answered, ms", xlabel="offered load, × capacity", yscale="log")
    goodput.legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def write(points: Sequence[dict[str, float | str]], setup: str) -> None:
    """Put the section into the page of all benchmarks, and the plot beside it."""
    draw(points)
    put("overload", text(points, setup))
