"""`kaname settings`: each setting with its value, origin, unit, default and meaning."""

from __future__ import annotations

import ast
import inspect
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from kaname.cli.output import print_json
from kaname.project import Project, find, load_valid
from kaname.secret import mask_secret
from kaname.settings import Settings
from kaname.terminal import console, show, table

UNITS = {
    "_bytes": "bytes",
    "_rows_per_s": "rows/s",
    "_ms": "ms",
    "_us": "µs",
    "_days": "days",
    "_rows": "rows",
}
"""The end of a setting's name and the unit that it stands for."""


WIDE = 130
"""Columns from which on the table has room for sentences."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One setting of a project."""

    name: str
    value: object
    origin: str
    """`default`, `kaname.yaml:3:9`, `KANAME_SERVER__PORT`, `profile cluster` or `command line`."""
    unit: str | None
    default: object
    doc: str


def explain(project: Project) -> list[Line]:
    """Every setting of `project`, in the order of the declaration."""
    defaults = dict(_leaves(Settings()))
    docs = dict(_docs())
    return [
        Line(
            name=name,
            value=msgspec.to_builtins(value, enc_hook=mask_secret),
            origin=project.origins.get(name, "default"),
            unit=_unit(name),
            default=msgspec.to_builtins(defaults[name], enc_hook=mask_secret),
            doc=docs.get(name, ""),
        )
        for name, value in _leaves(project.settings)
    ]


def _leaves(struct: msgspec.Struct, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for field in struct.__struct_fields__:
        value = getattr(struct, field)
        if isinstance(value, msgspec.Struct):
            yield from _leaves(value, f"{prefix}{field}.")
        else:
            yield prefix + field, value


def _unit(name: str) -> str | None:
    return next((unit for ending, unit in UNITS.items() if name.endswith(ending)), None)


def _docs() -> Iterator[tuple[str, str]]:
    """Dotted name -> the string under the field's declaration."""

    def walk(struct: msgspec.Struct, prefix: str) -> Iterator[tuple[str, str]]:
        said = dict(_docs_of(type(struct)))
        for field in struct.__struct_fields__:
            value = getattr(struct, field)
            yield prefix + field, said.get(field, "")
            if isinstance(value, msgspec.Struct):
                yield from walk(value, f"{prefix}{field}.")

    return walk(Settings(), "")


def _docs_of(kind: type) -> Iterator[tuple[str, str]]:
    node = ast.parse(inspect.getsource(kind)).body[0]
    assert isinstance(node, ast.ClassDef)
    for statement, after in zip(node.body, node.body[1:], strict=False):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            yield statement.target.id, " ".join(str(after.value.value).split())


def shown(value: object) -> str:
    """A value as it would be written in YAML."""
    return msgspec.json.encode(value).decode().strip('"')


def run(folder: Path, *, changed: bool, as_json: bool) -> None:
    """Print the settings of the project at `folder`."""
    lines = explain(load_valid(find(folder), os.environ))
    if changed:
        lines = [line for line in lines if line.value != line.default]
    if as_json:
        print_json({"settings": lines})
        return
    if not lines:
        console().print("every setting has its default")
    elif console().width < WIDE:
        _print_narrow(lines)
    else:
        _print_table(lines)


def _print_table(lines: list[Line]) -> None:
    grid = table("setting", "value", "unit", "default", "from", "what it is")
    for line in lines:
        style = "" if line.origin == "default" else "bold"
        grid.add_row(
            line.name, shown(line.value), line.unit or "", shown(line.default), line.origin, line.doc, style=style
        )
    show(grid)


def _print_narrow(lines: list[Line]) -> None:
    """Two lines per setting, for a terminal that is too narrow for the table."""
    from rich.padding import Padding
    from rich.text import Text

    for line in lines:
        default = f"default {shown(line.default)}; " if line.value != line.default else ""
        value = f" = {shown(line.value)}{' ' + line.unit if line.unit else ''}"
        show(Text.assemble((line.name, "bold"), value, (f"  ({default}{line.origin})", "dim")))
        show(Padding(Text(line.doc), (0, 0, 0, 4), expand=False))
