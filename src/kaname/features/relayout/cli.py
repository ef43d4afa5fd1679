"""`kaname features describe` and `relayout`: which layouts there are, and one in the place of another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import msgspec
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from kaname.features.opened import Features
from kaname.features.relayout.choosing import choose
from kaname.features.relayout.describing import Described, describe
from kaname.features.relayout.running import Relayouts
from kaname.features.relayout.types import How, Shown
from kaname.terminal import console, show, table

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Name = Annotated[str, typer.Argument(metavar="RELATION", help="Its name.", show_default=False)]
_ADD = "The schema to use: its name in features/*.schema, or a file. Without: the one that is declared and not in use."
_REPLACE = "The schema in use that it takes the place of; repeatable. Without: those that are not declared any more."


def add(app: typer.Typer, open_features: Callable[[], Features], open_relayouts: Callable[[], Relayouts]) -> None:
    """Add the commands to a group."""
    _looking(app, open_features)

    @app.command()
    def relayout(
        relation: Name,
        new: Annotated[str | None, typer.Option("--add", metavar="SCHEMA|FILE", help=_ADD, show_default=False)] = None,
        replace: Annotated[list[str] | None, typer.Option(metavar="SCHEMA", help=_REPLACE)] = None,
        sample: Annotated[int, typer.Option(min=1, help="Rows of each side to compare.")] = How().sample,
        full: Annotated[bool, typer.Option("--full", help="Compare all rows, and mend those that differ.")] = False,
        rate: Annotated[float | None, typer.Option(min=1, metavar="ROWS/S", help="Copy no faster.")] = None,
        status: Annotated[bool, typer.Option("--status", help="Say how far it is.")] = False,
        abort: Annotated[bool, typer.Option("--abort", help="Undo it, before its last step.")] = False,
        json: Json = False,
    ) -> None:
        """Have a layout take the place of another one while rows are read and written; goes on where it was."""
        relayouts = open_relayouts()
        if status:
            _say_status(relayouts, relation, json=json)
            return
        with _shown(json=json) as seen:
            if abort:
                relayouts.abort(relation, seen)
            else:
                if relayouts.status(relation) is None:
                    relayouts.begin(relation, *choose(relayouts.features, relation, new, replace or []))
                relayouts.run(relation, How(sample=sample, full=full, rows_per_s=rate), seen)
        _say_end(relayouts.features, relation, json=json)


def _looking(app: typer.Typer, open_features: Callable[[], Features]) -> None:
    @app.command("describe")
    def describe_(
        relation: Name,
        sample: Annotated[int, typer.Option(min=0, help="Rows of each layout to read for sizes.")] = 1000,
        json: Json = False,
    ) -> None:
        """Show a relation: what is in force, how each layout is sorted, and how large its rows are."""
        found = describe(open_features(), relation, sample)
        if json:
            typer.echo(msgspec.json.encode(found).decode())
        else:
            _say(found)


def _say(found: Described) -> None:
    console().print(found.text, end="")
    grid = table("schema", "use", "sorted by", "rows", "bytes per row")
    for layout in found.layouts:
        rows = f"{layout.rows:,}{'+' * layout.more}"
        size = "" if layout.bytes_per_row is None else f"{layout.bytes_per_row:,.0f}"
        grid.add_row(*(Text(cell) for cell in (layout.schema, layout.use, layout.order, rows, size)))
    console().print()
    show(grid)
    if found.refused:
        console().print(Text.assemble(("the files say otherwise: ", "yellow"), found.refused))


def _say_status(relayouts: Relayouts, relation: str, *, json: bool) -> None:
    found = relayouts.status(relation)
    if json:
        change, progress = (None, None) if found is None else found
        typer.echo(msgspec.json.encode({"relayout": change, "progress": progress}).decode())
    elif found is None:
        console().print(f"no layouts of {relation} change")
    else:
        change, progress = found
        gone = ", ".join(facts.name for facts in change.drops) or "none"
        console().print(f"step {change.step}: schema {change.target.name} in the place of {gone}")
        if progress is not None:
            console().print(f"{progress.rows:,} rows copied, {progress.checked:,} compared, {progress.mended:,} mended")


def _say_end(features: Features, relation: str, *, json: bool) -> None:
    found = describe(features, relation, 0)
    if json:
        typer.echo(msgspec.json.encode(found).decode())
        return
    console().print(
        Text.assemble(("done", "green"), f": {relation} is kept in {', '.join(each.schema for each in found.layouts)}")
    )
    if found.refused:
        console().print(Text.assemble(("now let features/*.schema say the same: ", "yellow"), found.refused))


@contextmanager
def _shown(*, json: bool) -> Iterator[Callable[[Shown], None]]:
    """A bar on a terminal, else a line per step; nothing beside JSON."""
    out = console()
    if json:
        yield lambda _: None
    elif out.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[said]}"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=out) as bar:
            task = bar.add_task("", total=1.0, said="")
            yield lambda shown: bar.update(task, description=shown.step, completed=shown.share or 0, said=_said(shown))
    else:
        steps: list[str] = []

        def line(shown: Shown) -> None:
            if shown.step not in steps[-1:]:
                steps.append(shown.step)
                out.print(f"{shown.step} …")

        yield line


def _said(shown: Shown) -> str:
    mended = f", {shown.mended:,} mended" if shown.mended else ""
    return f"{shown.rows:,} rows{mended}"
