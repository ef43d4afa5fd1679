"""All views of a project: what `features/*.view.yaml` declare."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from kaname.errors import KanameError, NotFound, first_of
from kaname.features.declared import Word
from kaname.features.files import views_of
from kaname.features.problems import Problems
from kaname.features.schemas import Schemas
from kaname.features.views.checking import view_of
from kaname.features.views.declared import DeclaredView, Source
from kaname.features.views.types import View

Examine: TypeAlias = Callable[[Path, type[DeclaredView]], tuple[Source, DeclaredView | None, list[KanameError]]]
"""A file with its places, and what it says or what is wrong with that; raises a KanameError when it is no YAML."""


def load(project: Path, schemas: Schemas, examined: Examine) -> dict[str, View]:
    """The views of a project by name. Raises the first problem, which says how many more there are."""
    views, problems = examine(project, schemas, examined)
    if problems:
        raise first_of(problems)
    return views


def examine(project: Path, schemas: Schemas, examined: Examine) -> tuple[dict[str, View], list[KanameError]]:
    """The views that are good, by name, and everything that is wrong with the others."""
    unread: list[KanameError] = []
    problems = Problems()
    views: dict[str, View] = {}
    names: list[Word] = []
    for path in views_of(project):
        try:
            source, said, wrong = examined(path, DeclaredView)
        except KanameError as problem:
            unread.append(problem)
            continue
        unread += wrong
        if said is None:
            continue
        names.append(Word(said.name, str(source.place(("name",)))))
        view = view_of(said, source, schemas, project, problems)
        if view is not None:
            views[view.name] = view
    problems.check_twice("view", names)
    return views, [*unread, *problems.sorted()]


def known(views: dict[str, View], name: str) -> View:
    """The view called so. Raises NotFound."""
    if name in views:
        return views[name]
    expected = " or ".join(sorted(views)[:5]) or "nothing: features/*.view.yaml declare none"
    raise NotFound("no such view", where="view", found=name, expected=expected)
