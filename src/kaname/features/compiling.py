"""Makes a layout of its declaration and its relation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast, get_args

from kaname.features.codecs import codec_of
from kaname.features.declared import Clause, DeclaredLayout, Listed, Parts, Word
from kaname.features.grouping import NAME_RULE, STORED_NAME, declared_groups, group_of
from kaname.features.layout import Layout, StoreKind, StoreName
from kaname.features.parts import compile_part
from kaname.features.problems import Problems
from kaname.features.rows import check_row
from kaname.features.types import Relation

OWN_TABLES = "kaname_"

_STORES: tuple[StoreKind, ...] = get_args(StoreKind)


def layout_of(declared: DeclaredLayout, relation: Relation, problems: Problems) -> Layout | None:
    """The layout, or None when there is something wrong with it."""
    before = len(problems)
    problems.check_name("schema", declared.name)
    _check_store(declared, problems)
    table, row = _one("table", declared, problems), _one("row", declared, problems)
    for word in _names_in(declared):
        problems.check_known(f"attribute of `{relation.name}`", word, relation.names)
    if len(problems) > before or table is None or row is None:
        return None
    assert isinstance(row.says, Parts)
    if not STORED_NAME.fullmatch(str(table.says)):
        problems.add("not a table", table.at, table.says, NAME_RULE)
    if str(table.says).startswith(OWN_TABLES):
        problems.add("tables of such names are kaname's own", table.at, table.says, f"no `{OWN_TABLES}` in front")
    check_row(row.says, relation, problems)
    groups = declared_groups(declared.clauses, relation, problems)
    if not groups and len(problems) == before:
        problems.add("a schema without cells", declared.name.at, declared.name, "`family …, value …`")
    if len(problems) > before:
        return None
    attributes = {attribute.name: attribute for attribute in relation.attributes}
    codecs = {name: codec_of(attribute) for name, attribute in attributes.items()}
    return Layout(
        declared.name.text,
        relation,
        StoreName(cast("StoreKind", declared.store.text), declared.store_name.text),
        str(table.says),
        [compile_part(part, attributes, "key") for part in row.says.parts],
        [group_of(group, relation, codecs) for group in groups],
    )


def _check_store(declared: DeclaredLayout, problems: Problems) -> None:
    kind, name = declared.store, declared.store_name
    problems.check_known("store", kind, _STORES)
    if not name.text:
        problems.add("a store without a name", name.at, '""', 'a name, as in cells("main")')
    elif kind.text == "cells" and not STORED_NAME.fullmatch(name.text):
        problems.add("not the name of a store", name.at, name, NAME_RULE)


def _one(kind: str, declared: DeclaredLayout, problems: Problems) -> Clause | None:
    """The only clause of its kind."""
    found = [clause for clause in declared.clauses if clause.kind == kind]
    if not found:
        problems.add(f"a schema without a {kind}", declared.name.at, declared.name, f"`{kind} …`")
    for clause in found[1:]:
        problems.add(f"a second {kind}", clause.at, None, f"one `{kind}` in a schema")
    return found[0] if found else None


def _names_in(declared: DeclaredLayout) -> Iterator[Word]:
    """Every word that should be an attribute."""
    for clause in declared.clauses:
        if isinstance(clause.says, Parts):
            for part in clause.says.parts:
                yield from part.names
        elif isinstance(clause.says, Listed):
            yield from clause.says.names
