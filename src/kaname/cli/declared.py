"""The files of `models/` and `features/` examined whole, for `kaname check`: all their faults, not only the first."""

from __future__ import annotations

from collections.abc import Container
from contextlib import closing, suppress
from pathlib import Path

from kaname.errors import DeadlineExceeded, InvalidInput, KanameError, MissingDependency, Unavailable
from kaname.features.files import files_of as schemas_of
from kaname.features.files import views_of
from kaname.models import declared
from kaname.models.declared import DeclaredModel
from kaname.project import Document, Files, Project, problems_in


def files_of(root: Path) -> list[Path]:
    """The declarations of the project at `root`, sorted by name."""
    folder = root / "models"
    return sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])


def faults(root: Path) -> list[KanameError]:
    """Everything wrong with the declarations: their form, names used twice, files that are not there."""
    files, problems = Files(root), list[KanameError]()
    names: dict[str, Document] = {}
    for path in files_of(root):
        try:
            document = files.document(path)
        except KanameError as problem:
            problems.append(problem)
            continue
        model, wrong = problems_in(document, DeclaredModel)
        problems += wrong
        if model is None:
            continue
        problems += declared.faults(root, model, lambda *at, document=document: str(document.place(at)))
        other = names.setdefault(model.name.lower(), document)
        if other is not document:
            problems.append(_declared_twice(document, model.name, other.file))
    return problems


def feature_faults(root: Path) -> list[KanameError]:
    """Everything wrong with the relations and layouts of the project at `root`; once they are good, with the views and
    with what models name as one."""
    if not schemas_of(root) and not views_of(root):
        return _unknown_views(root, {})
    from kaname.features.schemas import examine  # with its parser, which a project without schemas does not need
    from kaname.features.views.loading import examine as examine_views

    files = Files(root)
    schemas, problems = examine(root, files.text)
    if problems:
        return problems
    views = examine_views(root, schemas, files.examined)
    return views.problems or _unknown_views(root, views.views)


def _unknown_views(root: Path, views: Container[str]) -> list[KanameError]:
    """The models that name a view which is not declared."""
    files, problems = Files(root), list[KanameError]()
    for path in files_of(root):
        with suppress(KanameError):  # what cannot be read is told with the other faults of the file
            document, model, _ = files.examined(path, DeclaredModel)
            if model is not None and model.config.view and model.config.view not in views:
                where = str(document.place(("config", "view")))
                expected = "the name of a view in features/*.view.yaml"
                problems.append(InvalidInput("no such view", where=where, found=model.config.view, expected=expected))
    return problems


def stored_faults(project: Project) -> list[KanameError]:
    """Every change of the relations that would misread rows which are stored; a store that does not answer, or cannot
    be asked from here, is no fault of the files."""
    if not schemas_of(project.root) or not (project.settings.cells or (project.data / "cells").exists()):
        return []
    from kaname.stores import Stores

    with closing(Stores(project, patient=True)) as stores:
        try:
            return [problem for verdict in stores.features.verdicts().values() for problem in verdict.refused]
        except (Unavailable, DeadlineExceeded, MissingDependency):
            return []


def _declared_twice(document: Document, name: str, other: str) -> InvalidInput:
    where = str(document.place(("name",)))
    return InvalidInput(
        "another file declares this model", where=where, found=name, expected=f"not the name in {other}"
    )
