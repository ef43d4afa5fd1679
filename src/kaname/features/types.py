"""Relations: typed attributes, some of which are the key of a row. What the other modules talk about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

Row: TypeAlias = Mapping[str, object]
"""Values of attributes by name; an attribute off the key that is absent is null (None)."""


class Type(msgspec.Struct, frozen=True):
    """The type of an attribute."""

    name: str
    """string, bytes, bool, int32, int64, float32, float64, decimal, timestamp, date, json or vector."""
    precision: int = 0
    """Of a decimal: its digits."""
    scale: int = 0
    """Of a decimal: how many of them are behind the point."""
    item: str = ""
    """Of a vector: the type of its numbers."""
    length: int = 0
    """Of a vector: how many they are."""

    def __str__(self) -> str:
        if self.name == "decimal":
            return f"decimal({self.precision}, {self.scale})"
        return f"vector<{self.item}, {self.length}>" if self.name == "vector" else self.name


class Attribute(msgspec.Struct, frozen=True):
    """One attribute of a relation."""

    name: str
    type: Type
    key: bool = False
    planned: bool = False
    """Of a timestamp: it may lie ahead of the moment at which its row becomes known."""


class History(msgspec.Struct, frozen=True):
    """That every write of a relation is kept."""

    keep_s: float | None = None
    """For so long after it became known; None: for ever."""


class Relation(msgspec.Struct, frozen=True):
    """A table of features: rows that are told apart by their key."""

    name: str
    attributes: tuple[Attribute, ...]
    """In the order of the file."""
    history: History | None = None

    @property
    def key(self) -> tuple[Attribute, ...]:
        """The attributes of the key."""
        return tuple(attribute for attribute in self.attributes if attribute.key)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all attributes."""
        return tuple(attribute.name for attribute in self.attributes)


def history_table(relation: str) -> str:
    """The table of cells that holds the history of a relation, in the store of its first layout."""
    return f"history_{relation}"
