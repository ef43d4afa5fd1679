"""`kaname key …`: make, list and revoke API keys."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from kaname.access import scopes
from kaname.access.api import KeyView, NewKey
from kaname.access.keys import Keys
from kaname.call import Priority
from kaname.terminal import show, table, user

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


def commands(open_keys: Callable[[], Keys]) -> typer.Typer:
    """The `key` group. `open_keys` opens the project's keys when a command needs them.

    Errors leave as KanameError; the caller prints them.
    """
    app = typer.Typer(name="key", help="API keys: who may ask, and how much.", no_args_is_help=True)

    @app.command()
    def create(
        scope: Annotated[
            list[str],
            typer.Option("--scope", "-s", help=f"{scopes.EXPECTED}; may be repeated."),
        ],
        name: Annotated[str, typer.Option(help="What the key is for.")] = "",
        rate: Annotated[
            float | None, typer.Option(help="Rows per second over all models (default: the project's).")
        ] = None,
        burst: Annotated[int | None, typer.Option(help="Rows that may come at once (default: a second's).")] = None,
        priority: Annotated[
            Priority, typer.Option(help="Of its requests while the server is overloaded: critical, high, normal, low.")
        ] = "normal",
        tenant: Annotated[str | None, typer.Option(help="The tenant that it belongs to.")] = None,
        json: Json = False,
    ) -> None:
        """Make a key and print it; it cannot be shown again."""
        info, key = open_keys().create(
            name, scope, who=who(), rate_rows_per_s=rate, burst_rows=burst, priority=priority, tenant=tenant
        )
        if json:
            print_json(NewKey(key=key, info=KeyView.of(info)))
            return
        typer.echo(key)
        typer.echo(f"Key {info.id} may: {', '.join(info.scopes)}. Keep it now: it is not stored.", err=True)

    @app.command(name="list")
    def list_(json: Json = False) -> None:
        """List the keys, revoked ones too; never the keys themselves."""
        found = [KeyView.of(key) for key in open_keys().list()]
        if json:
            print_json(found)
        else:
            show(_table(found))

    @app.command()
    def revoke(key_id: Annotated[str, typer.Argument(metavar="ID", help="As `kaname key list` shows it.")]) -> None:
        """End a key's validity for good."""
        info = open_keys().revoke(key_id, who=who())
        typer.echo(f"Key {info.id} is revoked.")

    return app


def who() -> str:
    """How the change journal names a user of the command line."""
    return f"cli:{user()}".rstrip(":")


def print_json(value: object) -> None:
    typer.echo(msgspec.json.format(msgspec.json.encode(value)).decode())


def _table(keys: list[KeyView]) -> Table:
    grid = table("id", "name", "tenant", "scopes", "rows/s", "created", "revoked")
    for key in keys:
        rate = "default" if key.rate_rows_per_s is None else f"{key.rate_rows_per_s:g}"
        revoked = "" if key.revoked_us is None else _day(key.revoked_us)
        cells = (key.id, key.name, key.tenant or "", " ".join(key.scopes), rate, _day(key.created_us), revoked)
        grid.add_row(*map(Text, cells))  # a name in brackets is text, not markup
    return grid


def _day(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M")
