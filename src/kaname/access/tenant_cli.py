"""`kaname tenant …`: who keys belong to, and what they may ask together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from kaname.access.cli import Json, print_json, who
from kaname.access.tenant_api import TenantView
from kaname.access.tenants import Tenants
from kaname.access.usage import Usage
from kaname.terminal import show, table

Name = Annotated[str, typer.Argument(metavar="NAME", help="Lower-case letters, digits, - and _.")]


def commands(open_tenants: Callable[[], tuple[Tenants, Usage]]) -> typer.Typer:
    """The `tenant` group. `open_tenants` opens the project's when a command needs them.

    Errors leave as KanameError; the caller prints them.
    """
    app = typer.Typer(name="tenant", help="Tenants: limits over many keys.", no_args_is_help=True)

    @app.command(name="set")
    def set_(
        name: Name,
        rate: Annotated[float | None, typer.Option(help="Rows per second (default: no limit).")] = None,
        burst: Annotated[int | None, typer.Option(help="Rows that may come at once (default: a second's).")] = None,
        per_day: Annotated[int | None, typer.Option(help="Rows per day, UTC (default: no limit).")] = None,
        json: Json = False,
    ) -> None:
        """Make a tenant, or replace its limits."""
        tenants, usage = open_tenants()
        tenant = tenants.set(name, who=who(), rate_rows_per_s=rate, burst_rows=burst, rows_per_day=per_day)
        if json:
            print_json(TenantView.of([tenant], usage)[0])
            return
        typer.echo(f"Tenant {name}; make its keys with: kaname key create --tenant {name} --scope …", err=True)

    @app.command(name="list")
    def list_(json: Json = False) -> None:
        """List the tenants with their limits and the rows of today."""
        tenants, usage = open_tenants()
        found = TenantView.of(tenants.list(), usage)
        if json:
            print_json(found)
        else:
            show(_table(found))

    @app.command()
    def remove(name: Name) -> None:
        """Forget a tenant that has no valid key."""
        open_tenants()[0].remove(name, who=who())
        typer.echo(f"Tenant {name} is removed.")

    return app


def _table(tenants: list[TenantView]) -> Table:
    grid = table("tenant", "rows/s", "rows/day", "today", "from")
    for tenant in tenants:
        rate = "" if tenant.rate_rows_per_s is None else f"{tenant.rate_rows_per_s:g}"
        numbers = ["" if number is None else f"{number:,}" for number in (tenant.rows_per_day, tenant.rows_today)]
        grid.add_row(*map(Text, (tenant.name, rate, *numbers, "kaname.yaml" if tenant.declared else "")))
    return grid
