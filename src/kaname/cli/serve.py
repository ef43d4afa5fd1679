"""`kaname serve`: hand the project to the platform and stay until it stops."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from kaname.cli.check import problems_of
from kaname.cli.output import print_problems
from kaname.errors import InvalidInput
from kaname.project import find

if TYPE_CHECKING:
    from kaname.stores import Stores


def run(folder: Path, overrides: dict[str, object]) -> int:
    """Serve the project at `folder`; `overrides` are dotted settings from the command line. Returns the exit code."""
    root = find(folder)
    if problems := problems_of(root, os.environ, overrides):
        print_problems(problems)
        return 1
    from kaname.platform import serve

    return serve(root, overrides)


def run_from(
    source: Path, folder: Path | None, overrides: dict[str, object], *, watch: bool, trust_pickle: bool
) -> int:
    """Serve what the repository at `source` holds, from a project that is made where there is none.

    `watch`: what changes there while the server runs is followed.
    """
    from kaname.cli.importing import project_for

    root = project_for(source, folder)
    if watch:
        overrides |= {"repository.path": str(source.resolve()), "repository.trust_pickle": trust_pickle}
    if problems := problems_of(root, os.environ, overrides):
        print_problems(problems)
        return 1
    from kaname.platform import serve

    return serve(root, overrides, lambda stores: _take(stores, source, trust_pickle=trust_pickle))


def _take(stores: Stores, source: Path, *, trust_pickle: bool) -> None:
    """Take the repository over and say so. Raises InvalidInput when there is no model then."""
    from kaname.cli.importing import who
    from kaname.repositories.tables import report_page
    from kaname.repositories.types import How
    from kaname.terminal import show, working

    how = How(who=who("serve"), trust_pickle=trust_pickle, doing=working)
    show(report_page(stores.repositories.take_over(source, how)))
    if not stores.models.list():
        raise InvalidInput("there is nothing to serve", where=str(source), expected="a model that can be taken over")
