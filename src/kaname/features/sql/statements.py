"""What a statement asks for, its values checked."""

from __future__ import annotations

from datetime import datetime
from typing import TypeAlias

import msgspec

from kaname.features.sql.conditions import Condition
from kaname.features.types import Row


class Column(msgspec.Struct, frozen=True):
    """A column of an answer."""

    attribute: str
    name: str
    """Another one behind AS."""


class Sorted(msgspec.Struct, frozen=True):
    """One attribute of an ORDER BY."""

    attribute: str
    desc: bool = False
    nulls_first: bool = False


class Select(msgspec.Struct, frozen=True):
    """Rows to read."""

    columns: tuple[Column, ...]
    where: Condition | None = None
    order: tuple[Sorted, ...] = ()
    limit: int | None = None
    allow_filtering: bool = False


class Insert(msgspec.Struct, frozen=True):
    """Rows to write."""

    rows: tuple[Row, ...]
    at: datetime | None = None
    """When they became known; None: now."""


class Delete(msgspec.Struct, frozen=True):
    """Rows to delete: those that would be read."""

    chosen: Select
    at: datetime | None = None
    """When it became known that they are gone; None: now."""


Asked: TypeAlias = Select | Insert | Delete
