"""Groups of commands that belong to a capability (`kaname model …`): listed always, imported when used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

GROUPS = {
    "model": (
        "kaname.models.cli",
        ("open_models", "how_to_ask", "check_view"),
        "Add, list, promote and roll back models.",
    ),
    "key": ("kaname.access.cli", ("open_keys",), "Create, list and revoke API keys."),
    "token": ("kaname.access.token_cli", ("open_signing",), "Rotate the keys of the token endpoint."),
    "tenant": ("kaname.access.tenant_cli", ("open_tenants",), "Limits over many keys, and what is used of them."),
    "batch": ("kaname.batch.cli", ("open_jobs",), "Predict files of rows as jobs of the server."),
    "artefacts": ("kaname.storage.blobs.cli", ("open_artefacts",), "Take the files of versions to a bucket."),
    "features": (
        "kaname.features.cli",
        ("open_features", "open_relayouts"),
        "What models read: layouts, training sets.",
    ),
    "encryption": (
        "kaname.storage.sealing.cli",
        ("open_encryption",),
        "Encrypt data at rest; rotate keys.",
    ),
    "predictions": ("kaname.predictions.cli", ("open_reader", "open_sql_log"), "Read the record of predictions."),
}
"""Name -> module with `commands(…)`, the functions of `cli.objects` that it is handed, help."""


class _Later(TyperGroup):
    """A group whose commands are imported when one of them is asked for."""

    def __init__(self, name: str) -> None:
        self._module, self._handed, text = GROUPS[name]
        super().__init__(name=name, help=text, no_args_is_help=True, rich_help_panel="Work")
        self._group: TyperGroup | None = None

    def _real(self) -> TyperGroup:
        if self._group is None:
            from kaname.cli import objects

            handed = (getattr(objects, name) for name in self._handed)
            group: typer.Typer = import_module(self._module).commands(*handed)
            self._group = typer.main.get_group(group)
            self.commands = self._group.commands  # what a wrong word is compared with
        return self._group

    def list_commands(self, ctx: Any) -> list[str]:
        return self._real().list_commands(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return self._real().get_command(ctx, cmd_name)


class Commands(TyperGroup):
    """The commands of `main.py` and the groups above."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {**self.commands, **{name: _Later(name) for name in GROUPS}}
