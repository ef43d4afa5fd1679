"""Views as they are shown to those who ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

if TYPE_CHECKING:
    from kaname.features.views.types import Feature, Read, View  # brings numpy

Type = Annotated[str, Meta(description="As in a schema: `string`, `decimal(9, 2)`, `vector<float32, 64>`.")]


class KeyShown(msgspec.Struct, frozen=True, kw_only=True):
    """One of the keys that say of whom values are wanted."""

    name: str
    type: Type


class FeatureShown(msgspec.Struct, frozen=True, kw_only=True):
    """One value that is read."""

    name: str
    type: Type
    attribute: Annotated[str, Meta(description="Its name in the relation.")]
    max_age_s: Annotated[float | None, Meta(description="An older value is as good as none; null: any age will do.")]
    required: Annotated[bool, Meta(description="Whether it is an error when the value is missing or too old.")]
    default: Annotated[Any, Meta(description="Else what stands for it then.")] = None

    @classmethod
    def of(cls, feature: Feature) -> FeatureShown:
        """What is shown of a feature."""
        required = feature.default is msgspec.UNSET
        return cls(
            name=feature.name,
            type=str(feature.type),
            attribute=feature.attribute,
            max_age_s=None if feature.max_age_us is None else feature.max_age_us / 1e6,
            required=required,
            default=None if required else feature.default,
        )


class ReadShown(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of one relation."""

    relation: str
    key: Annotated[
        dict[str, str], Meta(description="Attributes of its key, and the key of the entity that each takes.")
    ]
    latest: Annotated[str | None, Meta(description="The time by which the newest row is read; null: the key is whole.")]
    features: list[FeatureShown]

    @classmethod
    def of(cls, read: Read) -> ReadShown:
        """What is shown of a read."""
        features = [FeatureShown.of(feature) for feature in read.features]
        return cls(relation=read.relation, key=read.key, latest=read.latest, features=features)


class DerivedShown(msgspec.Struct, frozen=True, kw_only=True):
    """One column that is computed."""

    name: str
    type: Type
    computed_by: Annotated[str, Meta(description="An expression, or `file.py:function`.")]
    inputs: Annotated[list[str], Meta(description="Columns, keys of the entity, and `now`.")]


class ViewShown(msgspec.Struct, frozen=True, kw_only=True):
    """One view."""

    name: str
    entity: list[KeyShown]
    reads: list[ReadShown]
    derived: list[DerivedShown]

    @classmethod
    def of(cls, view: View) -> ViewShown:
        """What is shown of a view."""
        return cls(
            name=view.name,
            entity=[KeyShown(name=name, type=str(of)) for name, of in view.entity.items()],
            reads=[ReadShown.of(read) for read in view.reads],
            derived=[
                DerivedShown(name=one.name, type=str(one.type), computed_by=one.says, inputs=list(one.inputs))
                for one in view.derived
            ],
        )
