"""`kaname features …`: rows, history and training sets of a project."""

from __future__ import annotations

from collections.abc import Callable

import typer

from kaname.features.opened import Features
from kaname.features.training import cli as training


def commands(open_features: Callable[[], Features]) -> typer.Typer:
    """The `features` group. `open_features` opens the relations and views of the chosen project.

    Errors leave as KanameError; the caller prints them.
    """
    app = typer.Typer(help="What models read: relations, their history, training sets.", no_args_is_help=True)
    training.add(app, open_features)
    return app
