"""`kaname token …`: the keys that the server's own token endpoint signs with."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.text import Text

from kaname.access.signing import SigningKey, SigningKeys
from kaname.terminal import show, table


def commands(open_signing: Callable[[], SigningKeys]) -> typer.Typer:
    """The `token` group. `open_signing` opens the project's signing keys when a command needs them."""
    app = typer.Typer(name="token", help="Signed tokens: the keys of the token endpoint.", no_args_is_help=True)

    @app.command(name="rotate-key")
    def rotate_key(
        revoke: Annotated[
            bool, typer.Option("--revoke", help="Withdraw the present keys at once, with every token they signed.")
        ] = False,
    ) -> None:
        """Make a new signing key; what the present one has signed stays valid until it expires."""
        made = open_signing().rotate(revoke=revoke)
        typer.echo(f"Key {made.kid} signs tokens from now on.")

    @app.command(name="keys")
    def keys() -> None:
        """List the signing keys; never the keys themselves."""
        grid = table("kid", "algorithm", "signs from", "kept until")
        for key in open_signing().list():
            grid.add_row(*map(Text, _cells(key)))
        show(grid)

    return app


def _cells(key: SigningKey) -> tuple[str, ...]:
    until = "" if key.until_us is None else _moment(key.until_us)
    return key.kid, str(key.jwk["alg"]), _moment(key.signs_from_us) if key.signs_from_us else "the start", until


def _moment(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")
