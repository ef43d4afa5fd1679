"""What `kaname top` draws: the server in its head, then a line per model, as much as the terminal has room for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kaname.cli.top.columns import COLUMNS, NOTHING, Column, Trend, duration, share, sort_column, three
from kaname.cli.top.figures import Line, Window, Worker
from kaname.inference.shelf import in_units
from kaname.terminal import table

BAR = 20
"""Characters of a worker's bar."""
FULL_CPU, BUSY_CPU = 0.9, 0.6
"""Shares of a core from which a worker is shown in red and in yellow."""
PAD = 3
"""Blanks between two columns."""


class Shown(NamedTuple):
    """How a window is to be shown."""

    sort: str
    trend: Callable[[Line], Trend] = lambda _: ()
    backwards: bool = False
    fault: str = ""
    """Why there is nothing newer."""
    keys: str = ""
    """What can be pressed."""


def ordered(window: Window, shown: Shown) -> list[Line]:
    """The lines: the largest first, names from A; or backwards."""
    by = sort_column(shown.sort).by
    assert by is not None
    lines = sorted(window.models, key=lambda line: (line.model, line.version))
    if shown.sort == "model":
        return lines[::-1] if shown.backwards else lines
    return sorted(lines, key=by, reverse=not shown.backwards)


def frame(window: Window, shown: Shown, width: int, height: int | None = None) -> RenderableType:
    """Everything, within `width` columns and `height` lines (None: all lines)."""
    head = _head(window, shown, width)
    lines = ordered(window, shown)
    room = len(lines) if height is None else max(height - len(head) - 4, 1)
    table_of = _lines(lines[:room], shown, width) if lines else Text("no model is in memory or was asked")
    parts: list[RenderableType] = [*head, Text(), table_of]
    foot = [f"and {len(lines) - room} more"] if len(lines) > room else []
    foot += [shown.keys] if shown.keys else []
    if foot:
        parts.append(Text("   ".join(foot), "dim", no_wrap=True, overflow="ellipsis"))
    return Group(*parts)


def _head(window: Window, shown: Shown, width: int) -> list[Text]:
    head = [_place(window), _totals(window)]
    if window.refused:
        most_first = sorted(window.refused.items(), key=lambda each: -each[1])
        codes = ", ".join(f"{code} {count}" for code, count in most_first)
        head.append(Text(f"refused before they reached a version: {codes}", "yellow"))
    head += _workers(window, width)
    if window.silent:
        head.append(Text(f"no sign of worker {', '.join(map(str, window.silent))}", "bold red"))
    if shown.fault:
        head.append(Text(shown.fault, "bold red"))
    for line in head:
        line.no_wrap, line.overflow = True, "ellipsis"
    return head


def _place(window: Window) -> Text:
    moment = datetime.fromtimestamp(window.at_us / 1e6, UTC).strftime("%H:%M:%S UTC")
    used = sum(worker.models_bytes for worker in window.workers)
    budget = sum(worker.budget_bytes for worker in window.workers)
    facts = f"   {moment}, {window.seconds:.1f} s   models {in_units(used)} of {in_units(budget)}"
    return Text.assemble((window.server, "bold"), (facts, "dim"))


def _totals(window: Window) -> Text:
    total = window.total
    facts = [
        (three(total.requests_per_s), " req/s"),
        (three(total.rows_per_s), " rows/s"),
        (share(total.failed_share).plain.replace("-", "0%"), " errors"),
        ("p50 ", duration(total.p50_ms).plain),
        ("p99 ", duration(total.p99_ms).plain),
    ]
    return Text("   ".join(f"{first}{then}" for first, then in facts))


def _workers(window: Window, width: int) -> list[Text]:
    """A cell per worker, side by side as far as they fit."""
    cells = [_worker(worker) for worker in window.workers]
    beside = max(1, width // (max((cell_len(cell.plain) for cell in cells), default=width) + PAD))
    return [Text(" " * PAD).join(cells[at : at + beside]) for at in range(0, len(cells), beside)]


def _worker(worker: Worker) -> Text:
    cpu = worker.cpu or 0.0
    style = "red" if cpu >= FULL_CPU else "yellow" if cpu >= BUSY_CPU else "green"
    full = min(BAR, round(cpu * BAR))
    return Text.assemble(
        f"worker {worker.slot} ",
        ("━" * full, style),
        ("╌" * (BAR - full), "bright_black"),
        f" {'   -' if worker.cpu is None else f'{100 * cpu:3.0f}%'}",
        f" {in_units(worker.resident_bytes):>10}",
        (f" {worker.versions} loaded", "dim"),
    )


def _lines(lines: Sequence[Line], shown: Shown, width: int) -> Table:
    columns, cells = _fitting(lines, shown, width)
    grid = table()
    for column in columns:
        style = "bold cyan" if column.name == shown.sort else ""
        left = column.name in ("model", "version", "errors")
        grid.add_column(_title(column, shown), header_style=style, justify="left" if left else "right", no_wrap=True)
    for row in cells:
        grid.add_row(*row)
    return grid


def _title(column: Column, shown: Shown) -> str:
    if column.name != shown.sort:
        return column.title
    down = shown.backwards == (column.name == "model")
    return f"{column.title}{'▼' if down else '▲'}"


def _fitting(lines: Sequence[Line], shown: Shown, width: int) -> tuple[list[Column], list[list[Text]]]:
    """The columns that fit, and their cells line by line."""
    found = []
    for column in COLUMNS:
        cells = [column.cell(line, shown.trend(line)) for line in lines]
        if not column.optional or any(cell is not NOTHING for cell in cells):
            found.append((column, cells))
    found = _narrowed(found, shown, width)
    columns = [column for column, _ in found]
    return columns, [[cells[at] for _, cells in found] for at in range(len(lines))]


def _narrowed(found: list[tuple[Column, list[Text]]], shown: Shown, width: int) -> list[tuple[Column, list[Text]]]:
    """Without the columns that give way until the rest fits; what is sorted by stays."""
    while sum(_width(column, cells, shown) + PAD for column, cells in found) - PAD > width:
        giving = [each for each in found if each[0].gives_way and each[0].name != shown.sort]
        if not giving:
            break
        found.remove(max(giving, key=lambda each: each[0].gives_way))
    return found


def _width(column: Column, cells: Sequence[Text], shown: Shown) -> int:
    return max(cell_len(_title(column, shown)), *(cell_len(cell.plain) for cell in cells), 0)
