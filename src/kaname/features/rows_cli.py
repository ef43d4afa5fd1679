"""`kaname features list`, `insert` and `query`: rows in, and rows out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from kaname.features.bulk.files import Progress, insert_file, write_file
from kaname.features.bulk.lines import pieces
from kaname.features.history.moments import known_from
from kaname.features.opened import Features
from kaname.features.shown import RelationView
from kaname.features.sql.query import Answer
from kaname.terminal import show, table

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
MOST_SHOWN = 100


def add(app: typer.Typer, open_features: Callable[[], Features]) -> None:
    """Add the commands to the group."""

    @app.command("list")
    def list_(json: Json = False) -> None:
        """List the relations with their attributes and layouts."""
        features = open_features()
        found = [RelationView.of(features.relation(name).placement) for name in features.placed()]
        if json:
            typer.echo(msgspec.json.encode(found).decode())
        else:
            _show_relations(found)

    @app.command()
    def insert(
        relation: Annotated[str, typer.Argument(metavar="RELATION", help="Its name.")],
        input: Annotated[Path, typer.Option(metavar="FILE", help="Rows: .parquet, .arrow, .ndjson, .jsonl or .csv.")],  # noqa: A002  (the option's name)
        at: Annotated[
            str | None, typer.Option(metavar="TIME", help="When they became known, as 2026-01-31T12:00Z; else now.")
        ] = None,
        at_column: Annotated[
            str | None, typer.Option(metavar="NAME", help="The column that says when each became known.")
        ] = None,
    ) -> None:
        """Write the rows of a file over those with the same keys; the same again is safe."""
        known = known_from(at, at_column, "--at")
        count = insert_file(open_features().relation(relation), input, _progress(), known)
        typer.echo(f"{_rows(count)} written")

    @app.command()
    def query(
        sql: Annotated[str, typer.Argument(metavar="SQL", help="SELECT, INSERT, DELETE or EXPLAIN.")],
        parameter: Annotated[
            list[str] | None, typer.Option("--parameter", "-p", help="A value of `?`: JSON, or else text.")
        ] = None,
        output: Annotated[
            Path | None, typer.Option(metavar="FILE", help="Where to: .parquet, .arrow, .ndjson or .jsonl.")
        ] = None,
        json: Json = False,
    ) -> None:
        """Answer a statement; `--json` prints a row on each line."""
        answer = open_features().query(sql, [_value(text) for text in parameter or ()], plain=True)
        if answer.changed is not None:
            typer.echo(f"{_rows(answer.changed)} changed")
        elif output is not None:
            typer.echo(f"{_rows(write_file(answer, output, _progress()))} in {output}")
        elif json:
            for piece in pieces(answer):
                typer.echo(piece, nl=False)
        elif sql.lstrip()[:7].upper() == "EXPLAIN":
            _show_plan(answer)
        else:
            _show_rows(answer)


def _rows(count: int) -> str:
    return f"{count} row{'s' * (count != 1)}"


def _value(text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _progress() -> Progress:
    """Rows so far, for a person who waits."""
    if not sys.stderr.isatty():
        return lambda _: None
    return lambda rows: typer.echo(f"\r{rows} rows …", err=True, nl=False)


def _show_relations(relations: Sequence[RelationView]) -> None:
    grid = table("relation", "attribute", "type", "layouts")
    for relation in relations:
        layouts = ", ".join(layout.name for layout in relation.layouts)
        for i, one in enumerate(relation.attributes):
            kind = f"{one.type}{' key' * one.key}"
            grid.add_row(*map(Text, ("" if i else relation.name, one.name, kind, "" if i else layouts)))
    show(grid)


def _show_plan(answer: Answer) -> None:
    """What EXPLAIN says, a line for each thing."""
    grid = Table.grid(padding=(0, 3))
    for row in answer:
        for name, said in row.items():
            if said is not None:
                grid.add_row(Text(name), Text(str(said)))
    show(grid)


def _show_rows(answer: Answer) -> None:
    grid = table(*answer.columns)
    rows = iter(answer)
    for row in islice(rows, MOST_SHOWN):
        grid.add_row(*(Text("" if value is None else str(value)) for value in row.values()))
    show(grid)
    if next(rows, None) is not None:
        typer.echo(f"and more than these {MOST_SHOWN}: --json or --output FILE for all", err=True)
