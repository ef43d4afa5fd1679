"""`kaname check`: every file of a project, every fault, nothing changed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from rich.text import Text

from kaname.cli.declared import faults, feature_faults, files_of, stored_faults
from kaname.cli.output import print_json, print_problems, problem_of
from kaname.errors import KanameError
from kaname.features.files import files_of as schemas_of
from kaname.features.files import views_of
from kaname.project import find, load
from kaname.terminal import console


def problems_of(
    root: Path, environ: Mapping[str, str], overrides: Mapping[str, object] | None = None
) -> list[KanameError]:
    """Everything wrong with the project at `root`: settings, environment, declarations, files that they name; once they
    are good, what would misread stored rows."""
    project, problems = load(root, environ, overrides)
    problems = [*problems, *faults(root), *feature_faults(root)]
    return problems if problems or project is None else stored_faults(project)


def run(folder: Path, *, as_json: bool) -> int:
    """Print all problems of the project at `folder`; the exit code is 1 when there are any."""
    root = find(folder)
    problems = problems_of(root, os.environ)
    if as_json:
        print_json({"project": str(root), "problems": [problem_of(problem) for problem in problems]})
        return int(bool(problems))
    print_problems(problems)
    files = 1 + len(files_of(root)) + len(schemas_of(root)) + len(views_of(root))
    if problems:
        said = (f"{len(problems)} problem{'s' * (len(problems) > 1)}", "bold red"), f" in {root}"
    else:
        said = ("ok", "green"), f" {files} file{'s' * (files > 1)} of {root}"
    console().print(Text.assemble(*said))
    return int(bool(problems))
