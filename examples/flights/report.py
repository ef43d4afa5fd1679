"""What the replay found, as tables for the terminal and as one picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from scores import LATE_MINUTES, Score, score

if TYPE_CHECKING:
    from replay import Traffic

FEWEST_FLIGHTS = 100
"""Carriers with fewer flights than this are left out of the picture: their figures are noise."""
NEW_YORK = pd.Timedelta(hours=5)
"""Behind UTC in winter; in October an hour less, which moves no departure over midnight."""
BLUE, ORANGE, GREY = "#2f6db3", "#d9782d", "#8a8f98"


def by_carrier(traffic: Traffic) -> dict[str, Score]:
    """Scores per carrier, busiest first."""
    actual, carriers = traffic.flights["delay_minutes"].to_numpy(), traffic.flights["carrier"].to_numpy()
    scores = {str(name): score(actual[carriers == name], traffic.predicted[carriers == name]) for name in set(carriers)}
    return dict(sorted(scores.items(), key=lambda item: -item[1].flights))


def overall(traffic: Traffic) -> Score:
    return score(traffic.flights["delay_minutes"].to_numpy(), traffic.predicted)


def show(traffic: Traffic, console: Console) -> None:
    """Print the traffic table, the quality table, and what the server refused."""
    requests, errors = len(traffic.flights), sum(traffic.problems.values())
    p50, p95, p99 = np.nanpercentile(traffic.latency_ms, [50, 95, 99])
    speed = Table(title="Traffic", title_justify="left")
    for name in ("requests", "errors", "p50 ms", "p95 ms", "p99 ms", "rows/s"):
        speed.add_column(name, justify="right")
    cells = (f"{requests:,}", f"{errors:,}", f"{p50:.2f}", f"{p95:.2f}", f"{p99:.2f}")
    speed.add_row(*cells, f"{requests / traffic.seconds:,.0f}")
    console.print(speed)
    for said, times in sorted(traffic.problems.items(), key=lambda item: -item[1])[:5]:
        console.print(f"{times:,} × {said}", markup=False)
    console.print(_quality(traffic))


def _quality(traffic: Traffic) -> Table:
    table = Table(title=f"Arrival delay; late = more than {LATE_MINUTES:.0f} minutes", title_justify="left")
    table.add_column("carrier")
    for name in ("flights", "late", "RMSE min", "MAE min", "AUC late"):
        table.add_column(name, justify="right")
    table.add_row("[bold]all[/bold]", *_cells(overall(traffic)), end_section=True)
    for carrier, figures in by_carrier(traffic).items():
        table.add_row(carrier, *_cells(figures))
    return table


def _cells(figures: Score) -> tuple[str, ...]:
    late = f"{figures.late_share:.1%}"
    return (
        f"{figures.flights:,}",
        late,
        *(f"{v:.1f}" for v in (figures.rmse_minutes, figures.mae_minutes)),
        f"{figures.auc:.3f}",
    )


def draw(traffic: Traffic, path: Path) -> None:
    """Write the picture: quality by carrier, calibration, delay by day, latency."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt  # after the backend is chosen

    settings = {
        "axes.spines.top": False,
        "axes.spines.right": False,
        "font.size": 9,
        "axes.titlesize": 11,
        "axes.titlelocation": "left",
    }
    with mpl.rc_context(settings):
        figure, ((carriers, calibration), (days, latency)) = plt.subplots(2, 2, figsize=(11, 7.5), layout="constrained")
        _draw_carriers(carriers, traffic)
        _draw_calibration(calibration, traffic)
        _draw_days(days, traffic)
        _draw_latency(latency, traffic)
        figure.savefig(path, dpi=130)
        plt.close(figure)


def _draw_carriers(axes: mpl.axes.Axes, traffic: Traffic) -> None:
    scores = {name: s for name, s in by_carrier(traffic).items() if s.flights >= FEWEST_FLIGHTS and not np.isnan(s.auc)}
    names = sorted(scores, key=lambda name: scores[name].auc)
    values = [scores[name].auc for name in names]
    total = overall(traffic).auc
    axes.hlines(names, 0.5, values, color=BLUE, linewidth=2)
    axes.plot(values, names, "o", color=BLUE, markersize=6)
    for name, value in zip(names, values, strict=True):
        axes.annotate(f"{value:.2f}", (value, name), xytext=(7, 0), textcoords="offset points", va="center", fontsize=8)
    axes.axvline(total, color=ORANGE, linewidth=1, linestyle="--")
    axes.annotate(
        f"all {total:.3f}", (total, 0), xytext=(4, 0), textcoords="offset points", color=ORANGE, va="center", fontsize=8
    )
    axes.set(title="How well late flights are told apart, by carrier", xlabel="AUC (0.5: by chance)")
    axes.margins(x=0.12)


def _draw_calibration(axes: mpl.axes.Axes, traffic: Traffic) -> None:
    table = pd.DataFrame(
        {"predicted": traffic.predicted, "actual": traffic.flights["delay_minutes"].to_numpy()}
    ).dropna()
    tenths = table.groupby(pd.qcut(table["predicted"], 10, duplicates="drop"), observed=True).mean()
    low, high = float(tenths.to_numpy().min()), float(tenths.to_numpy().max())
    axes.plot([low, high], [low, high], color=GREY, linewidth=1, linestyle="--")
    axes.annotate(
        "as predicted",
        (high, high),
        xytext=(-14, 4),
        textcoords="offset points",
        ha="right",
        va="top",
        color=GREY,
        fontsize=8,
    )
    axes.plot(tenths["predicted"], tenths["actual"], "o-", color=BLUE)
    axes.set(
        title="Predicted and actual delay, by tenths of the flights",
        xlabel="mean predicted, minutes",
        ylabel="mean actual, minutes",
    )


def _draw_days(axes: mpl.axes.Axes, traffic: Traffic) -> None:
    when = pd.to_datetime(traffic.flights["departs_s"], unit="s", utc=True).dt.tz_localize(None)
    table = pd.DataFrame(
        {
            "predicted": traffic.predicted,
            "actual": traffic.flights["delay_minutes"].to_numpy(),
            "day": (when - NEW_YORK).dt.floor("D"),
        }
    )
    days = table.dropna().groupby("day").mean()
    axes.plot(days.index, days["actual"], color=GREY, linewidth=1.2, label="actual")
    axes.plot(days.index, days["predicted"], color=BLUE, linewidth=1.8, label="predicted")
    axes.axhline(0, color="black", linewidth=0.5)
    axes.set(title="Mean arrival delay by day", ylabel="minutes")
    axes.xaxis.set_major_locator(mpl.dates.MonthLocator())
    axes.xaxis.set_major_formatter(mpl.dates.DateFormatter("1 %b"))
    axes.legend(frameon=False, loc="upper left")


def _draw_latency(axes: mpl.axes.Axes, traffic: Traffic) -> None:
    values = traffic.latency_ms[~np.isnan(traffic.latency_ms)]
    bins = np.geomspace(max(values.min(), 1e-3), max(values.max(), values.min() * 1.01), 60)
    axes.hist(values, bins=bins, color=BLUE)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
    axes.xaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    for share, style in ((50, "-"), (99, "--")):
        at = float(np.percentile(values, share))
        axes.axvline(at, color=ORANGE, linewidth=1, linestyle=style)
        axes.annotate(
            f"p{share} {at:.2f} ms",
            (at, 0.97),
            xycoords=("data", "axes fraction"),
            xytext=(4, 0),
            textcoords="offset points",
            color=ORANGE,
            va="top",
            fontsize=8,
        )
    axes.set(title=f"Answer time of {len(values):,} requests over HTTP", xlabel="ms", ylabel="requests")
