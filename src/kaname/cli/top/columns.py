"""The columns of `kaname top`: what each shows of a model, what it is sorted by, which give way where it is narrow."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.text import Text

from kaname.cli.top.figures import Line, Traffic
from kaname.errors import InvalidInput
from kaname.inference.shelf import in_units
from kaname.telemetry.metrics import LATENCY_S

TREND = 12
"""Windows in a trend."""
LEVELS = " ▁▂▃▄▅▆▇█"
LITTLE = 0.005
"""What would be shown as 0.00."""
MANY_FAIL = 0.01
"""Share of failed requests that is shown in red."""
NOTHING = Text("-", "dim")
Trend = Sequence[float]
"""Requests per second of the last windows, oldest first."""


class Column(NamedTuple):
    """One column: its name for `--sort`, its title, its cell, what it is sorted by (None: by nothing)."""

    name: str
    title: str
    cell: Callable[[Line, Trend], Text]
    by: Callable[[Line], float | str] | None = None
    gives_way: int = 0
    """Of what does not fit, the highest number goes first; 0 stays."""
    optional: bool = False
    """Shown only where a line has something there."""


def duration(ms: float | None) -> Text:
    """A time for people. Below the first bucket of the histogram nobody knows more than that."""
    if ms is None:
        return NOTHING
    if ms < LATENCY_S[0] * 1000:
        return Text(f"<{LATENCY_S[0] * 1000:g} ms")
    if ms >= LATENCY_S[-1] * 1000:
        return Text(f">{LATENCY_S[-1]:g} s", "red")
    return Text(f"{three(ms)} ms" if ms < 1000 else f"{ms / 1000:.2f} s")


def amount(value: float | None) -> Text:
    """A figure; a dash for none or hardly any."""
    return Text(three(value)) if value and value >= LITTLE else NOTHING


def three(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def share(value: float | None) -> Text:
    """A share as a percentage; a dash for none."""
    return Text(f"{100 * value:.{0 if value >= 0.0995 else 1 if value >= 0.00995 else 2}f}%") if value else NOTHING


def failures(traffic: Traffic) -> Text:
    """The share of failed requests with the error that most of them had."""
    if not traffic.failed:
        return NOTHING
    most = max(traffic.failed, key=lambda code: traffic.failed[code])
    style = "bold red" if traffic.failed_share >= MANY_FAIL else "yellow"
    return Text.assemble((share(traffic.failed_share).plain, style), " ", (most, "dim"))


def trend(values: Trend) -> Text:
    """Bars of the last windows, as high as the highest of them; a dash before there is one."""
    if not values:
        return NOTHING
    most = max(values)
    bars = "".join(LEVELS[math.ceil(value / most * (len(LEVELS) - 1))] for value in values) if most else ""
    return Text(f"{bars:>{TREND}}", "cyan")


def memory(line: Line) -> Text:
    """What it takes, or why it takes nothing."""
    if line.resident_bytes:
        return Text(in_units(line.resident_bytes) + ("*" if line.pinned else ""), "green")
    return Text(line.state, {"failed": "bold red", "loading": "yellow"}.get(line.state, "dim"))


def _name(line: Line, _: Trend) -> Text:
    return Text(line.model, "bold" if line.traffic.requests else "")


def _version(line: Line, _: Trend) -> Text:
    return Text.assemble(line.version, (f" +{line.others}" if line.others else "", "dim"))


def _figure(
    name: str,
    title: str,
    field: str,
    show: Callable[[float | None], Text],
    gives_way: int = 0,
    *,
    optional: bool = False,
) -> Column:
    """A column of one field of the traffic."""

    def cell(line: Line, _: Trend) -> Text:
        return show(getattr(line.traffic, field))

    def by(line: Line) -> float:
        return getattr(line.traffic, field) or 0.0

    return Column(name, title, cell, by, gives_way, optional)


COLUMNS = (
    Column("model", "model", _name, lambda line: line.model),
    Column("version", "version", _version, None, 3),
    Column("trend", "trend", lambda _, values: trend(values), None, 6, optional=True),
    _figure("rate", "req/s", "requests_per_s", amount),
    _figure("rows", "rows/s", "rows_per_s", amount, 8),
    Column("errors", "errors", lambda line, _: failures(line.traffic), lambda line: line.traffic.failed_share),
    _figure("p50", "p50", "p50_ms", duration, 4),
    _figure("p99", "p99", "p99_ms", duration),
    _figure("batch", "batch", "batch_rows", amount, 5),
    _figure("queue", "queue", "waiting", amount, 2),
    _figure("busy", "busy", "busy", share, 7),
    _figure("cached", "cached", "cached_share", share, 9, optional=True),
    _figure("loads", "loads", "loads", amount, 9, optional=True),
    Column("memory", "memory", lambda line, _: memory(line), lambda line: line.resident_bytes, 1),
)
SORTS = tuple(column.name for column in COLUMNS if column.by is not None)


def sort_column(name: str) -> Column:
    """The column called `name`. Raises InvalidInput for one that cannot be sorted by."""
    for column in COLUMNS:
        if column.name == name and column.by is not None:
            return column
    raise InvalidInput("cannot sort by that", where="--sort", found=name, expected=", ".join(SORTS))
