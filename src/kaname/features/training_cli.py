"""`kaname features training-set` and `history`: what was known at the time, as files."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from kaname.features.history.moments import moment_from
from kaname.features.opened import Features
from kaname.features.training.types import MEMORY_MB, TIME, Progress, Summary

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


def add(app: typer.Typer, open_features: Callable[[], Features]) -> None:
    """Add the commands to the group."""

    @app.command("training-set")
    def training_set(
        view: Annotated[str, typer.Option(metavar="V", help="The view, as a model reads it.")],
        labels: Annotated[Path, typer.Option(metavar="FILE", help="CSV or Parquet: entity keys, a time, labels.")],
        output: Annotated[Path, typer.Option(metavar="FILE", help="The set: .parquet or .csv.")],
        time: Annotated[str, typer.Option(metavar="COLUMN", help="The moment of a label.")] = TIME,
        memory_mb: Annotated[int, typer.Option(min=64, help="What the join may take; more goes to disk.")] = MEMORY_MB,
        json: Json = False,
    ) -> None:
        """Add to each label what the view would have said at its moment: nothing that became known later."""
        summary = open_features().training_set(
            view, labels, output, time=time, memory_mb=memory_mb, progress=_shown(json=json)
        )
        typer.echo(msgspec.json.encode(summary).decode() if json else _told(summary))

    @app.command()
    def history(
        relation: Annotated[str, typer.Argument(metavar="RELATION", help="One with history.")],
        output: Annotated[Path, typer.Option(metavar="FILE.parquet", help="Where to write.")],
        start: Annotated[str | None, typer.Option(metavar="TIME", help="From then on, as 2026-01-31T12:00Z.")] = None,
        stop: Annotated[str | None, typer.Option(metavar="TIME", help="Before then.")] = None,
        json: Json = False,
    ) -> None:
        """Write what became known of a relation, and when, to Parquet."""
        from kaname.features.history.exporting import export_parquet, schema_of

        stored, says = open_features().relation(relation), _shown(json=json)
        bounds = (("--start", start), ("--stop", stop))
        found = stored.history(*(None if said is None else moment_from(said, option) for option, said in bounds))
        schema = schema_of(stored.relation.attributes)
        rows = export_parquet(found, schema, output, lambda done: says(f"history of {relation}", done, None))
        answer = {"relation": relation, "rows": rows, "output": str(output)}
        typer.echo(msgspec.json.encode(answer).decode() if json else f"{rows:,} writes of {relation} in {output}")


def _shown(*, json: bool) -> Progress:
    """Progress on a terminal, in one line."""

    def show(what: str, done: int, of: int | None) -> None:
        if not json and sys.stderr.isatty():
            whole = "" if of is None else f" of {of:,}"
            end = "\n" if done == of else ""
            typer.echo(f"\r\033[K{what}: {done:,}{whole}{end}", nl=False, err=True)

    return show


def _told(summary: Summary) -> str:
    lines = [f"{summary.rows:,} rows in {summary.output} after {summary.seconds:.1f} s"]
    lines += [f"  {name}: default in {share:.1%}" for name, share in summary.defaults.items() if share]
    return "\n".join(lines)
