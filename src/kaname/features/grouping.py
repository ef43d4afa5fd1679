"""Makes the cells of a layout of its clauses `family`, `qualifier` and `value`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import msgspec

from kaname.features.codecs import Codec
from kaname.features.declared import Clause, Listed, Parts, Word
from kaname.features.groups import MARKER, AttributeCells, Group, joined, packed
from kaname.features.packing import MOST_PACKED
from kaname.features.parts import compile_part
from kaname.features.problems import Problems
from kaname.features.rows import check_value
from kaname.features.types import Relation

STORED_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,47}")
NAME_RULE = "a letter or _, then letters, digits and _, 48 at most"


_Said: TypeAlias = tuple[Word | Listed, Word | Listed, Listed | Parts]


class DeclaredGroup(msgspec.Struct, frozen=True):
    """A family, a qualifier and what they hold; attributes by name where they are listed."""

    family: Word | Listed
    qualifier: Word | Listed
    value: Listed | Parts
    attributes: tuple[str, ...]
    at: str


def declared_groups(clauses: Sequence[Clause], relation: Relation, problems: Problems) -> list[DeclaredGroup]:
    """The groups in the order of the file; each begins with its family."""
    raw = list(_cut(clauses, problems))
    named = {name for _, _, value in raw for name in _listed(value)}
    rest = tuple(
        attribute.name for attribute in relation.attributes if not attribute.key and attribute.name not in named
    )
    groups: list[DeclaredGroup] = []
    for family, qualifier, value in raw:
        attributes = _listed(value) or rest
        groups.append(DeclaredGroup(family, qualifier, value, attributes, value.at))
    _check_rest(groups, problems)
    for group in groups:
        _check_group(group, relation, problems)
    _check_cells(groups, problems)
    return groups


def group_of(group: DeclaredGroup, relation: Relation, codecs: Mapping[str, Codec]) -> Group:
    """The functions of a group that was found good."""
    if isinstance(group.value, Parts):
        attributes = {attribute.name: attribute for attribute in relation.attributes}
        parts = [compile_part(part, attributes, "value") for part in group.value.parts]
        return joined(str(group.family), str(group.qualifier).encode(), parts)
    if group.value.kind == "pack":
        return packed(str(group.family), str(group.qualifier).encode(), [codecs[name] for name in group.attributes])
    return AttributeCells(dict(zip(group.attributes, _places(group), strict=True)), codecs)


def _cut(clauses: Sequence[Clause], problems: Problems) -> Iterator[_Said]:
    """Family, qualifier and value of each group."""
    family: Clause | None = None
    qualifier: Clause | None = None
    for clause in (clause for clause in clauses if clause.kind not in ("table", "row")):
        if clause.kind == "family":
            if family is not None:
                problems.add("a family without a value", family.at, None, "`value` before the next `family`")
            family, qualifier = clause, None
        elif family is None:
            problems.add(f"a {clause.kind} without a family", clause.at, None, "`family` before it")
        elif clause.kind == "qualifier":
            if qualifier is not None:
                problems.add("a second qualifier", clause.at, None, "`value`")
            qualifier = clause
        else:
            yield _group(family, qualifier, clause)
            family = None
    if family is not None:
        problems.add("a family without a value", family.at, None, "`value` behind it")


def _group(family: Clause, qualifier: Clause | None, value: Clause) -> _Said:
    says = Word("", value.at) if qualifier is None else qualifier.says
    assert not isinstance(family.says, Parts)
    assert not isinstance(says, Parts)
    assert not isinstance(value.says, Word)
    return family.says, says, value.says


def _listed(value: Listed | Parts) -> tuple[str, ...]:
    names = [part.names[0] for part in value.parts if part.names] if isinstance(value, Parts) else value.names
    return tuple(word.text for word in names)


def _check_rest(groups: Sequence[DeclaredGroup], problems: Problems) -> None:
    """Two groups cannot both take what nobody names."""
    taking = [group for group in groups if not _listed(group.value)]
    for group in taking[1:]:
        problems.add("another value takes the attributes that nobody lists", group.at, None, "names in the brackets")


def _check_group(group: DeclaredGroup, relation: Relation, problems: Problems) -> None:
    names = [said for said in (group.family, group.qualifier) if isinstance(said, Listed)]
    if isinstance(group.family, Word) and not STORED_NAME.fullmatch(group.family.text):
        problems.add("not a family", group.family.at, group.family, NAME_RULE)
    if isinstance(group.qualifier, Word) and group.qualifier.text.encode() == MARKER:
        problems.add("this qualifier marks rows with nulls", group.qualifier.at, r"\0", "another one")
    if isinstance(group.value, Parts):
        check_value(group.value, relation, problems)
    by_attribute = isinstance(group.value, Listed) and group.value.kind == "attr_value"
    if by_attribute and len(names) != 1:
        problems.add("attr_value[…] needs one attr_name[…]", group.at, None, "attr_name[…] as family or as qualifier")
    elif names and not by_attribute:
        problems.add("attr_name[…] without attr_value[…]", names[0].at, None, "value attr_value[…]")
    elif names and [word.text for word in names[0].names] != list(_listed(group.value)):
        problems.add("attr_name and attr_value list different attributes", group.at, None, "the same names in both")
    elif by_attribute and not group.attributes:
        problems.add("no attribute is left for this value", group.at, None, "pack[], which holds a row without any")
    if isinstance(group.value, Listed) and group.value.kind == "pack" and len(group.attributes) > MOST_PACKED:
        problems.add("too many attributes in a pack", group.at, len(group.attributes), f"at most {MOST_PACKED}")


def _check_cells(groups: Sequence[DeclaredGroup], problems: Problems) -> None:
    """Every attribute has one place, every place one owner."""
    attributes: set[str] = set()
    cells: set[tuple[str, bytes]] = set()
    for group in groups:
        for name in group.attributes:
            if name in attributes:
                problems.add("an attribute that has a place already", group.at, name)
            attributes.add(name)
        for family, qualifier in set(_places(group)) & cells:
            problems.add("two values in one cell", group.at, f'family "{family}", qualifier "{qualifier.decode()}"')
        cells.update(_places(group))


def _places(group: DeclaredGroup) -> list[tuple[str, bytes]]:
    """Family and qualifier of each cell."""
    family, qualifier = group.family, group.qualifier
    if isinstance(family, Listed):
        return [(name, str(qualifier).encode()) for name in group.attributes]
    if isinstance(qualifier, Listed):
        return [(family.text, name.encode()) for name in group.attributes]
    return [(family.text, qualifier.text.encode())]
