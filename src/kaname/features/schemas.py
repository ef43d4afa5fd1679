"""All relations and layouts of a project: what `features/*.schema` declare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import msgspec

from kaname.errors import KanameError, first_of
from kaname.features.compiling import layout_of
from kaname.features.declared import DeclaredLayout, DeclaredRelation, Definition, Word
from kaname.features.files import files_of
from kaname.features.layout import Layout, StoreName
from kaname.features.problems import Problems
from kaname.features.relations import relation_of
from kaname.features.syntax import parse
from kaname.features.types import Relation, history_table

Text: TypeAlias = Callable[[Path], tuple[str, str]]
"""How errors name a file, and its text; raises a KanameError with the place when it cannot be read."""


class Schemas(msgspec.Struct, frozen=True):
    """Relations by name, and the layouts of each in the order of the files."""

    relations: dict[str, Relation] = {}
    layouts: dict[str, tuple[Layout, ...]] = {}
    declared: dict[str, DeclaredRelation] = {}
    """Of each relation what the files say, with places."""
    declared_layouts: dict[str, tuple[DeclaredLayout, ...]] = {}
    """Likewise of its layouts, in the order of `layouts`."""


def load(project: Path, text: Text) -> Schemas:
    """The schemas of a project. Raises the first problem, which says how many more there are."""
    schemas, problems = examine(project, text)
    if problems:
        raise first_of(problems)
    return schemas


def examine(project: Path, text: Text) -> tuple[Schemas, list[KanameError]]:
    """The schemas of a project that are good, and everything that is wrong with the others."""
    unread: list[KanameError] = []
    definitions: list[Definition] = []
    for path in files_of(project):
        try:
            file, said = text(path)
            definitions += parse(said, file)
        except KanameError as problem:
            unread.append(problem)
    problems = Problems()
    schemas = _schemas(definitions, problems, complete=not unread)
    return schemas, [*unread, *problems.sorted()]


def schemas_in(text: str, file: str = "text") -> Schemas:
    """The schemas in one text. Raises its first problem."""
    problems = Problems()
    schemas = _schemas(parse(text, file), problems, complete=True)
    if problems.found:
        raise problems.sorted()[0]
    return schemas


def layouts_in(text: str, relation: str, file: str) -> Schemas:
    """Layouts that a text declares, one or several, of a relation that is given as a text of its own. Raises the first
    problem."""
    problems = Problems()
    layouts = [each for each in parse(text, file) if isinstance(each, DeclaredLayout)]
    schemas = _schemas([*parse(relation, "relation"), *layouts], problems, complete=True, partial=True)
    if problems.found:
        raise problems.sorted()[0]
    return schemas


def _schemas(
    definitions: Sequence[Definition], problems: Problems, *, complete: bool, partial: bool = False
) -> Schemas:
    """`complete`: a relation that is not among the definitions is nowhere. `partial`: there are other layouts."""
    declared = [each for each in definitions if isinstance(each, DeclaredRelation)]
    problems.check_twice("relation", (each.name for each in declared))
    relations: dict[str, Relation] = {}
    for each in declared:
        relation = relation_of(each, problems)
        if relation is not None:
            relations[relation.name] = relation
    layouts: dict[str, list[tuple[DeclaredLayout, Layout | None]]] = {name: [] for name in relations}
    names = {each.name.text: each.name for each in declared}
    for wanted in (each for each in definitions if isinstance(each, DeclaredLayout)):
        if wanted.relation.text in relations:
            layout = layout_of(wanted, relations[wanted.relation.text], problems)
            layouts[wanted.relation.text].append((wanted, layout))
        elif complete:
            problems.check_known("relation", wanted.relation, [*names])
    for name, found in layouts.items():
        problems.check_twice(f"schema of `{name}`", (each.name for each, _ in found))
        if not partial:
            _check_held(names[name], relations[name], found, problems)
    _check_tables([pair for found in layouts.values() for pair in found], problems)
    good = {name: [pair for pair in found if pair[1] is not None] for name, found in layouts.items()}
    return Schemas(
        relations,
        {name: tuple(layout for _, layout in found if layout is not None) for name, found in good.items()},
        {each.name.text: each for each in declared},
        {name: tuple(wanted for wanted, _ in found) for name, found in good.items()},
    )


def _check_held(
    name: Word, relation: Relation, found: Sequence[tuple[DeclaredLayout, Layout | None]], problems: Problems
) -> None:
    """What no layout holds would be lost."""
    layouts = [layout for _, layout in found if layout is not None]
    if len(layouts) < len(found) or not layouts:
        return
    held = {attribute for layout in layouts for attribute in layout.attributes}
    for attribute in relation.names:
        if attribute not in held:
            problems.add("an attribute that no schema of the relation holds", name.at, attribute, "it in one value")


def _check_tables(found: Sequence[tuple[DeclaredLayout, Layout | None]], problems: Problems) -> None:
    """Rows of two layouts in one table could have one key."""
    first: dict[tuple[StoreName, str], Layout] = {}
    layouts = [layout for _, layout in found if layout is not None and layout.relation.history is not None]
    histories = {(layout.store, history_table(layout.relation.name)) for layout in layouts}
    for declared, layout in found:
        if layout is None:
            continue
        other = first.setdefault((layout.store, layout.table), layout)
        if other is not layout:
            taken = next(clause.says for clause in declared.clauses if clause.kind == "table")
            assert isinstance(taken, Word)
            problems.add("another schema has this table", taken.at, taken, f"not the table of `{other.name}`")
    for declared, layout in found:
        if layout is not None and (layout.store, layout.table) in histories:
            problems.add("the history of a relation has this table", declared.name.at, layout.table, "another name")
