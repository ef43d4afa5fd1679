"""What a `features/*.view.yaml` says; whether it makes sense is not decided here."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Protocol

import msgspec
from msgspec import Meta

Age = Annotated[float, Meta(gt=0)]
ColumnType = Literal["float64", "bool", "string", "timestamp"]


class DeclaredFeature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`price: {attribute: last_price, max_age_s: 60, default: 0}`."""

    attribute: str | None = None
    """None: the one of the same name."""
    max_age_s: Age | None = None
    default: Any = msgspec.UNSET


class DeclaredRead(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is read of one relation."""

    relation: str
    features: dict[str, DeclaredFeature | None]
    key: dict[str, str] = {}
    """Key attributes of the relation by the entity key that each takes; those of one name need not be here."""
    latest: str | None = None
    max_age_s: Age | None = None
    """For features that have none of their own."""


class DeclaredFunction(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A derived column that a function of the project computes; its parameters name columns."""

    function: str
    """`code/file.py:name`."""
    type: ColumnType = "float64"


class DeclaredView(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file."""

    name: str
    entity: tuple[str, ...]
    reads: tuple[DeclaredRead, ...]
    derived: dict[str, str | DeclaredFunction] = {}
    """Expressions, or functions."""


class Source(Protocol):
    """Where the parts of a file stand (`project.Document`)."""

    def place(self, path: tuple[str | int, ...], /) -> object:
        """`file:line:column` of the value at a path of keys and positions."""

    def place_of_key(self, path: tuple[str | int, ...], /) -> object:
        """The same of the key of that value."""
