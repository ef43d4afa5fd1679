"""What a relation and its layouts say, as data: to be kept beside the rows, compared, and made text again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from kaname.features.declared import DeclaredLayout, Listed, Part, Parts
from kaname.features.grouping import DeclaredGroup, declared_groups
from kaname.features.layout import StoreName
from kaname.features.problems import Problems
from kaname.features.types import Relation

_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r", "\0": "\\0"}


class GroupFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """Some attributes and the cells that hold them."""

    kind: Literal["cells", "pack", "parts"]
    attributes: tuple[str, ...]
    """All of them by name, in the order of their bytes where they share a cell."""
    family: str | None = None
    """None: the name of each attribute."""
    qualifier: str | None = None
    """None: the name of each attribute."""
    parts: str = ""
    """Of `parts`: how they are written."""

    def cells(self) -> list[tuple[str, str]]:
        """Family and qualifier of each cell: one per attribute of `cells`, else one."""
        if self.kind != "cells":
            return [(self.family or "", self.qualifier or "")]
        return [
            (name if self.family is None else self.family, name if self.qualifier is None else self.qualifier)
            for name in self.attributes
        ]

    def __str__(self) -> str:
        names = f"[{', '.join(self.attributes)}]"
        family = f"attr_name{names}" if self.family is None else quoted(self.family)
        qualifier = f"attr_name{names}" if self.qualifier is None else quoted(self.qualifier)
        value = {"cells": f"attr_value{names}", "pack": f"pack{names}", "parts": self.parts}[self.kind]
        return f"family {family}, qualifier {qualifier}, value {value}"


class LayoutFacts(msgspec.Struct, frozen=True):
    """One `define schema`."""

    name: str
    store: StoreName
    table: str
    row: str
    groups: tuple[GroupFacts, ...]

    @property
    def place(self) -> tuple[StoreName, str]:
        """Where its rows are: what makes it the same layout whatever its name."""
        return self.store, self.table

    @property
    def attributes(self) -> frozenset[str]:
        """What its cells hold."""
        return frozenset(name for group in self.groups for name in group.attributes)

    def text(self, relation: str) -> str:
        """It as a schema file writes it."""
        groups = "".join(f",\n  {group}" for group in self.groups)
        head = f"define schema {self.name} for {relation} on {self.store.kind}({quoted(self.store.name)})"
        return f"{head} {{\n  table {quoted(self.table)},\n  row {self.row}{groups}\n}};\n"


def relation_text(relation: Relation) -> str:
    """A relation as a schema file writes it."""
    marks = [(each, " key" * each.key + " planned" * each.planned) for each in relation.attributes]
    lines = ",\n".join(f"  {each.name} {each.type}{said}" for each, said in marks)
    return f"define relation {relation.name}{_history(relation)} {{\n{lines}\n}};\n"


def _history(relation: Relation) -> str:
    if relation.history is None:
        return ""
    keep_s = relation.history.keep_s
    return " with history" if keep_s is None else f" with history({keep_s / 60:.0f} minutes)"


def facts_of(declared: DeclaredLayout, relation: Relation, store: StoreName) -> LayoutFacts:
    """What a declaration that was found good says."""
    groups = declared_groups(declared.clauses, relation, Problems())
    said = {clause.kind: clause.says for clause in declared.clauses}
    row = said["row"]
    assert isinstance(row, Parts)
    return LayoutFacts(declared.name.text, store, str(said["table"]), _parts(row), tuple(_group(one) for one in groups))


def quoted(text: str) -> str:
    """A text in quotes, as the language reads it."""
    return '"' + "".join(_ESCAPES.get(letter, letter) for letter in text) + '"'


def _group(group: DeclaredGroup) -> GroupFacts:
    family = None if isinstance(group.family, Listed) else group.family.text
    qualifier = None if isinstance(group.qualifier, Listed) else group.qualifier.text
    if isinstance(group.value, Parts):
        return GroupFacts("parts", group.attributes, family, qualifier, _parts(group.value))
    return GroupFacts("pack" if group.value.kind == "pack" else "cells", group.attributes, family, qualifier)


def _parts(parts: Parts) -> str:
    return ":".join(_written(parts.parts))


def _written(parts: Sequence[Part]) -> Iterator[str]:
    for part in parts:
        if part.kind == "hash":
            yield f"hash({part.number})[{', '.join(word.text for word in part.names)}]"
            continue
        around = {"size": "size", "suffix": f"suffix({_bytes(part.separator)})", "fixed": f"fixed({part.number})"}
        said = f"{around[part.kind]}{{{part.name}}}" if part.kind in around else part.name
        yield f"desc{{{said}}}" if part.desc else said


def _bytes(raw: bytes) -> str:
    """A separator in quotes; bytes that are no letters as `\\x…`."""
    letters = [chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}" for byte in raw]
    return '"' + "".join(_ESCAPES.get(letter, letter) for letter in letters) + '"'
