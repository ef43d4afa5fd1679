"""`kaname encryption …`: make keys, see what they encrypt, and wrap everything with the active one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec
import typer
from rich.text import Text

from kaname.storage.sealing.keys import new_line
from kaname.storage.sealing.rotation import Encryption, KeyUse
from kaname.terminal import show, table

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


def commands(open_encryption: Callable[[], Encryption]) -> typer.Typer:
    """The `encryption` group. `open_encryption` opens the project's keys when a command needs them.

    Errors leave as KanameError; the caller prints them.
    """
    app = typer.Typer(
        help="Keys that encrypt artefacts, the prediction record and deferred requests.", no_args_is_help=True
    )

    @app.command(name="new-key")
    def new_key(
        name: Annotated[str, typer.Argument(help="What to call it: the month, for example.", show_default=False)],
    ) -> None:
        """Print a line with a new key for the file of keys; it is stored nowhere else."""
        typer.echo(new_line(name))

    @app.command()
    def status(json: Json = False) -> None:
        """Say which keys are listed, which one is active, and how much each of them opens."""
        uses = open_encryption().uses()
        if json:
            typer.echo(msgspec.json.encode(uses).decode())
            return
        grid = table("store", "key", "opens", "")
        for use in uses:
            grid.add_row(use.store, Text(use.key or "not encrypted"), str(use.count), _remark(use))
        show(grid)

    @app.command()
    def rotate(json: Json = False) -> None:
        """Wrap every data key with the active key; the data stay as they are, beside a running server too."""
        changed = open_encryption().rotate()
        if json:
            typer.echo(msgspec.json.encode(changed).decode())
            return
        for store, count in changed.items():
            typer.echo(f"{store}: {count} data keys wrapped anew")

    return app


def _remark(use: KeyUse) -> str:
    if use.active:
        return "active"
    if use.key is None or use.listed:
        return ""
    return "NOT LISTED: cannot be read"
