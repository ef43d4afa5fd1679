"""What a schema file says, with the place of every word; whether it makes sense is not decided here."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec


class Word(msgspec.Struct, frozen=True):
    """A name, number or quoted text (without its quotes) and where it stands: `file:line:column`."""

    text: str
    at: str

    def __str__(self) -> str:
        return self.text


class DeclaredType(msgspec.Struct, frozen=True):
    """`decimal(12, 2)`, `vector<float32, 64>`, `string`."""

    name: Word
    form: Literal["simple", "decimal", "vector"] = "simple"
    arguments: tuple[Word, ...] = ()


class DeclaredAttribute(msgspec.Struct, frozen=True):
    """`placed_at timestamp key`."""

    name: Word
    type: DeclaredType
    key: bool
    planned: Word | None = None
    """The word, where it stands behind the type."""


class DeclaredHistory(msgspec.Struct, frozen=True):
    """`with history`, `with history(90 days)`."""

    at: str
    number: Word | None = None
    unit: Word | None = None


class DeclaredRelation(msgspec.Struct, frozen=True):
    """`define relation NAME { … }`."""

    name: Word
    attributes: tuple[DeclaredAttribute, ...]
    history: DeclaredHistory | None = None


class Part(msgspec.Struct, frozen=True):
    """One part of a row or value: `price`, `size{item}`, `suffix(","){item}`, `fixed(8){item}`, `hash(3)[user_id]`."""

    kind: Literal["plain", "size", "suffix", "fixed", "hash"]
    names: tuple[Word, ...]
    """The attribute; of a hash several."""
    at: str
    number: int = 0
    """Bytes of `fixed` and `hash`."""
    separator: bytes = b""
    """Of `suffix`."""
    desc: bool = False
    """Inside `desc{}`."""

    @property
    def name(self) -> str:
        """The attribute that is written here."""
        return self.names[0].text


class Parts(msgspec.Struct, frozen=True):
    """Parts joined by colons."""

    parts: tuple[Part, ...]
    at: str


class Listed(msgspec.Struct, frozen=True):
    """`attr_name[a, b]`, `attr_value[a, b]`, `pack[a, b]`; without names it means all that no other one lists."""

    kind: Literal["attr_name", "attr_value", "pack"]
    names: tuple[Word, ...]
    at: str


class Clause(msgspec.Struct, frozen=True):
    """`table "t"`, `row …`, `family …`, `qualifier …`, `value …`."""

    kind: str
    says: Word | Parts | Listed
    at: str


class DeclaredLayout(msgspec.Struct, frozen=True):
    """`define schema NAME for RELATION on STORE("NAME") { … }`."""

    name: Word
    relation: Word
    store: Word
    store_name: Word
    clauses: tuple[Clause, ...]


Definition: TypeAlias = DeclaredRelation | DeclaredLayout
