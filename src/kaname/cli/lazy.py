"""Groups of commands that belong to a capability (`kaname model …`): listed always, imported when used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

GROUPS = {
    "model": ("kaname.models.cli", "open_models", "Add, list, promote and roll back models."),
    "key": ("kaname.access.cli", "open_keys", "Create, list and revoke API keys."),
    "predictions": ("kaname.predictions.cli", "open_reader", "Read the record of predictions."),
}
"""Name -> module with `commands(opener)`, the opener in `cli.objects`, help."""


class _Later(TyperGroup):
    """A group whose commands are imported when one of them is asked for."""

    def __init__(self, name: str) -> None:
        self._module, self._opener, text = GROUPS[name]
        super().__init__(name=name, help=text, no_args_is_help=True, rich_help_panel="Work")
        self._group: TyperGroup | None = None

    def _real(self) -> TyperGroup:
        if self._group is None:
            from kaname.cli import objects

            group: typer.Typer = import_module(self._module).commands(getattr(objects, self._opener))
            self._group = typer.main.get_group(group)
        return self._group

    def list_commands(self, ctx: Any) -> list[str]:
        return self._real().list_commands(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return self._real().get_command(ctx, cmd_name)


class Commands(TyperGroup):
    """The commands of `main.py` and the groups above."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *GROUPS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return _Later(cmd_name) if cmd_name in GROUPS else super().get_command(ctx, cmd_name)
