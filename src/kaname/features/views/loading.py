"""All views of a project: what `features/*.view.yaml` declare."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import msgspec

from kaname.errors import KanameError, NotFound
from kaname.features.declared import Word
from kaname.features.files import SUFFIX, views_of
from kaname.features.problems import Problems
from kaname.features.schemas import Schemas
from kaname.features.views.checking import view_of
from kaname.features.views.declared import DeclaredView, Source
from kaname.features.views.types import View

Examine: TypeAlias = Callable[[Path, type[DeclaredView]], tuple[Source, DeclaredView | None, list[KanameError]]]
"""A file with its places, and what it says or what is wrong with that; raises a KanameError when it is no YAML."""


class Declared(msgspec.Struct, frozen=True):
    """What the files say, each for itself."""

    views: dict[str, View] = {}
    """Those that are good, by name."""
    wrong: dict[str, KanameError] = {}
    """What is wrong first with each of the others; a file that cannot be read stands for the view called as it is."""
    problems: list[KanameError] = []
    """Everything that is wrong."""

    def view(self, name: str) -> View:
        """The view called so. Raises what is wrong with it, or NotFound."""
        if name in self.views:
            return self.views[name]
        if name in self.wrong:
            raise self.wrong[name]
        expected = " or ".join(sorted(self.views)[:5]) or "nothing: features/*.view.yaml declare none"
        raise NotFound("no such view", where="view", found=name, expected=expected)


def examine(project: Path, schemas: Schemas, examined: Examine) -> Declared:
    """The views of a project, and everything that is wrong with some of them."""
    unread: list[KanameError] = []
    problems = Problems()
    views: dict[str, View] = {}
    wrong: dict[str, KanameError] = {}
    names: list[Word] = []
    for path in views_of(project):
        try:
            source, said, faults = examined(path, DeclaredView)
        except KanameError as problem:
            source, said, faults = None, None, [problem]
        unread += faults
        if source is None or said is None:
            wrong[path.name.removesuffix(SUFFIX)] = faults[0]
            continue
        names.append(Word(said.name, str(source.place(("name",)))))
        before = len(problems)
        view = view_of(said, source, schemas, project, problems)
        if view is not None:
            views[view.name] = view
        else:
            wrong[said.name] = problems.found[before]
    twice = problems.check_twice("view", names)
    for name in names:
        if name.text.lower() in twice:
            views.pop(name.text, None)
            wrong.setdefault(name.text, twice[name.text.lower()])
    return Declared(views, wrong, [*unread, *problems.sorted()])
