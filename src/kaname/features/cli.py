"""`kaname features …`: rows, history and training sets of a project."""

from __future__ import annotations

from collections.abc import Callable

import typer

from kaname.features import rows_cli, views_cli
from kaname.features import training_cli as training
from kaname.features.opened import Features
from kaname.features.relayout import cli as relayout
from kaname.features.relayout.running import Relayouts


def commands(open_features: Callable[[], Features], open_relayouts: Callable[[], Relayouts]) -> typer.Typer:
    """The `features` group. `open_features` opens the relations and views of the chosen project, `open_relayouts` the
    changes of their layouts.

    Errors leave as KanameError; the caller prints them.
    """
    app = typer.Typer(help="What models read: relations, their history, training sets.", no_args_is_help=True)
    relayout.add(app, open_features, open_relayouts)
    rows_cli.add(app, open_features)
    views_cli.add(app, open_features)
    training.add(app, open_features)
    return app
