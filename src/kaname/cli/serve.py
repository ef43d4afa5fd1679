"""`kaname serve`: hand the project to the platform and stay until it stops."""

from __future__ import annotations

import os
from pathlib import Path

from kaname.cli.check import problems_of
from kaname.cli.output import print_problems
from kaname.project import find


def run(folder: Path, overrides: dict[str, object]) -> int:
    """Serve the project at `folder`; `overrides` are dotted settings from the command line. Returns the exit code."""
    root = find(folder)
    if problems := problems_of(root, os.environ, overrides):
        print_problems(problems)
        return 1
    from kaname.platform import serve

    return serve(root, overrides)
