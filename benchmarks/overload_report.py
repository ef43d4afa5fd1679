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
    plot = f"![goodput and p99 over the offered load]({PLOT.name})"
    return f"## Overload\n\n{setup}\n\n{targets(points)}\n\n{table(head, rows)}\n\n{plot}"


def targets(points: Sequence[dict[str, float | str]]) -> str:
    """What is to be reached at the largest load, and what was."""
    mine = [one for one in points if one["name"] == "kaname"]
    least, most = mine[0], mine[-1]
    load = float(most["load"])
    goodput = float(most["good_per_s"]) / _capacity(points)
    slower = float(most["p99_ms"]) / float(least["p99_ms"])
    return (
        f"At {load:g} times its capacity Kaname answers {goodput:.0%} of that in time (goal: at least 90%), and p99 "
        f"of what it answers is {slower:.1f} times that at {float(least['load']):g} times (goal: at most 3)."
    )


def draw(points: Sequence[dict[str, float | str]], path: Path = PLOT) -> None:
    """Goodput, and p99 of what was answered, over the offered load."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "overload"  # the same figures give the same file
    from matplotlib import pyplot as plt  # after the backend is chosen

    figure, (goodput, latency) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    goodput.axhline(_capacity(points), color="grey", linestyle=":", linewidth=1, label="capacity of Kaname")
    for name, title in TITLES.items():
        mine = [one for one in points if one["name"] == name]
        loads = [one["load"] for one in mine]
        style = {"marker": "o", "markersize": 4, "linewidth": 2.5 if name == "kaname" else 1.5}
        goodput.plot(loads, [one["good_per_s"] for one in mine], label=title, **style)
        latency.plot(loads, [one["p99_ms"] or None for one in mine], **style)
    goodput.set(title="answered in time, per second", xlabel="offered load, × capacity", ylim=(0, None))
    latency.set(title="p99 of what was answered, ms", xlabel="offered load, × capacity", yscale="log")
    latency.yaxis.set_major_formatter("{x:,.0f}")
    for axes in (goodput, latency):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*goodput.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _capacity(points: Sequence[dict[str, float | str]]) -> float:
    """Requests per second at a load of 1."""
    return float(points[0]["offered_per_s"]) / float(points[0]["load"])


def write(points: Sequence[dict[str, float | str]], setup: str) -> None:
    """Put the section into the page of all benchmarks, and the plot beside it."""
    draw(points)
    put("overload", text(points, setup))
