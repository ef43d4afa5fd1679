"""`kaname features views`: what models read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated

import msgspec
import typer
from rich.text import Text

from kaname.features.opened import Features
from kaname.features.views.shown import FeatureShown, ViewShown
from kaname.terminal import show, table

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


def add(app: typer.Typer, open_features: Callable[[], Features]) -> None:
    """Add the command to the group."""

    @app.command()
    def views(json: Json = False) -> None:
        """List the views with what they read and compute; `kaname check` says what is wrong with others."""
        found = [ViewShown.of(view) for _, view in sorted(open_features().views().items())]
        if json:
            typer.echo(msgspec.json.encode(found).decode())
            return
        for i, view in enumerate(found):
            entity = ", ".join(key.name for key in view.entity)
            typer.echo("\n" * (i > 0) + f"{view.name}, by {entity}:")
            grid = table("column", "type", "of", "max age", "default")
            for row in _rows(view):
                grid.add_row(*map(Text, row))
            show(grid)


def _rows(view: ViewShown) -> Iterator[tuple[str, ...]]:
    for read in view.reads:
        for one in read.features:
            age = "" if one.max_age_s is None else f"{one.max_age_s:g} s"
            yield one.name, one.type, f"{read.relation}.{one.attribute}", age, _default(one)
    for column in view.derived:
        yield column.name, column.type, column.computed_by, "", ""


def _default(feature: FeatureShown) -> str:
    if feature.required:
        return "none: an error"
    return "null" if feature.default is None else str(feature.default)
