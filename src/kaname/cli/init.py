"""`kaname init DIR`: a project that runs as it is."""

from __future__ import annotations

import shutil
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from rich.text import Text

from kaname.cli.output import print_json
from kaname.errors import Conflict
from kaname.terminal import console

PLACES = {
    "kaname.yaml": "kaname.yaml",
    "README.md": "README.md",
    "gitignore": ".gitignore",
    "iris.yaml": "models/iris.yaml",
    "iris.onnx": "models/iris.onnx",
    "iris-sample.json": "models/iris-sample.json",
}
"""File of the starter -> its place in the project."""


def create(folder: Path) -> list[str]:
    """Fill the new or empty `folder`; returns the files made. Raises Conflict when something is in it."""
    if folder.is_dir() and any(folder.iterdir()):
        raise Conflict("the folder is not empty", where=str(folder), expected="a new or empty folder")
    if folder.exists() and not folder.is_dir():
        raise Conflict("a file of that name exists", where=str(folder), expected="a new or empty folder")
    starter = resources.files("kaname.cli") / "starter"
    for source, place in PLACES.items():
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.endswith((".yaml", ".md")):
            target.write_text(_filled(starter / source, folder.resolve().name), encoding="utf-8")
        else:
            with resources.as_file(starter / source) as file:
                shutil.copyfile(file, target)
    return sorted(PLACES.values())


def _filled(template: Traversable, name: str) -> str:
    """The template with the project's name in it."""
    return template.read_text(encoding="utf-8").replace("{{name}}", name.replace('"', "'"))


def run(folder: Path, *, as_json: bool) -> None:
    """Make the project and say what to do next."""
    files = create(folder)
    if as_json:
        print_json({"project": str(folder.resolve()), "files": files})
        return
    out = console()
    out.print(Text.assemble("A project in ", (str(folder), "bold"), f": {', '.join(files)}"))
    out.print("Next:")
    out.print(f"  kaname check {folder}")
    out.print(f"  kaname serve {folder}")
