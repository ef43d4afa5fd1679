"""Relations and layouts as they are shown to those who ask."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from kaname.features.layout import Layout
from kaname.features.placement import Placement


class AttributeView(msgspec.Struct, frozen=True, kw_only=True):
    """One attribute."""

    name: str
    type: Annotated[str, Meta(description="As in the schema: `string`, `decimal(9, 2)`, `vector<float32, 64>`.")]
    key: Annotated[bool, Meta(description="Whether rows are told apart by it.")]


class LayoutView(msgspec.Struct, frozen=True, kw_only=True):
    """One layout of a relation."""

    name: str
    store: Annotated[str, Meta(description='As in the schema: `cells("main")`.')]
    table: str
    begins_with: Annotated[
        list[str], Meta(description="Attributes in the order of the row key; those of a hash in brackets.")
    ]
    attributes: Annotated[list[str], Meta(description="What its rows hold.")]

    @classmethod
    def of(cls, layout: Layout) -> LayoutView:
        """What is shown of a layout."""
        return cls(
            name=layout.name,
            store=f'{layout.store.kind}("{layout.store.name}")',
            table=layout.table,
            begins_with=[part.attribute or f"hash[{', '.join(part.hashed)}]" for part in layout.row],
            attributes=list(layout.attributes),
        )


class RelationView(msgspec.Struct, frozen=True, kw_only=True):
    """One relation."""

    name: str
    attributes: list[AttributeView]
    layouts: list[LayoutView]

    @classmethod
    def of(cls, placement: Placement) -> RelationView:
        """What is shown of a relation."""
        attributes = placement.relation.attributes
        return cls(
            name=placement.relation.name,
            attributes=[AttributeView(name=one.name, type=str(one.type), key=one.key) for one in attributes],
            layouts=[LayoutView.of(layout) for layout in placement.layouts],
        )
