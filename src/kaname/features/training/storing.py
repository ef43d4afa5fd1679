"""Values as the join takes them: what SQL has is itself, everything else the bytes of its codec."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kaname.arrow import Array, DataType, arrow
from kaname.features.codecs import codec_of
from kaname.features.columnar import arrow_type
from kaname.features.training.types import PURPOSE
from kaname.features.types import Attribute

_AS_THEY_ARE = ("string", "bool", "int32", "int64", "float32", "float64")
_WIDER = ("float32",)
"""Stored as float64, which holds the same: in a FLOAT column DuckDB's ASOF join makes 0.0 of -0.0."""


def stored_type(attribute: Attribute) -> DataType:
    """The type of the column."""
    pa = arrow(PURPOSE).pa
    if attribute.type.name == "timestamp":
        return pa.int64()
    if attribute.type.name in _WIDER:
        return pa.float64()
    return arrow_type(attribute.type) if attribute.type.name in _AS_THEY_ARE else pa.binary()


def stored(values: Sequence[object], attribute: Attribute) -> Array:
    """Values of an attribute, None for null."""
    pa = arrow(PURPOSE).pa
    if attribute.type.name == "timestamp":
        return pa.array(values, arrow_type(attribute.type)).cast(pa.int64())
    if attribute.type.name not in _AS_THEY_ARE:
        write = codec_of(attribute).write
        values = [None if value is None else write(value) for value in values]
    return pa.array(values, stored_type(attribute))


def revived(column: Array, attribute: Attribute) -> list[Any]:
    """The values of a column that `stored` made."""
    if attribute.type.name == "timestamp":
        return column.cast(arrow_type(attribute.type)).to_pylist()  # type: ignore[no-any-return]  # pyarrow has no types
    values: list[Any] = column.to_pylist()
    if attribute.type.name in _AS_THEY_ARE:
        return values
    read = codec_of(attribute).read
    return [None if value is None else read(value) for value in values]
