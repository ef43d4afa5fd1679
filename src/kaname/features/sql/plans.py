"""A way to answer a query, chosen but not yet gone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

import msgspec

from kaname.features.layout import Layout
from kaname.features.ranges import Span, Within
from kaname.features.sql.conditions import Condition, attributes_of
from kaname.features.sql.statements import Select
from kaname.features.types import Row

Access: TypeAlias = Literal["nothing", "points", "ranges", "full scan"]
Arranged: TypeAlias = Literal["as stored", "merged", "sorted"]
"""Where the order comes from: rows come so; ranges come so and are merged; all rows are held and sorted."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How rows are found."""

    layout: Layout
    access: Access
    keys: tuple[Row, ...] = ()
    """Of points, each once."""
    spans: tuple[Span, ...] = ()
    """Of ranges, which share no row, in their order."""
    equal: tuple[str, ...] = ()
    """The attributes whose values a row key begins with."""
    within: Within | None = None
    """What follows these."""
    rest: tuple[Condition, ...] = ()
    """What is asked of each row that was read."""
    arranged: Arranged = "as stored"
    reverse: bool = False
    """Rows are read from the last to the first."""
    missing: tuple[str, ...] = ()
    """Attributes that are read by key from other layouts."""


def needed(select: Select, rest: Iterable[Condition]) -> set[str]:
    """The attributes without which a query cannot be answered."""
    names = {column.attribute for column in select.columns} | {part.attribute for part in select.order}
    return names.union(name for one in rest for name in attributes_of(one))
