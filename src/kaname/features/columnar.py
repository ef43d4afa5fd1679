"""Values of each type as columns of Apache Arrow."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from kaname.arrow import Array, DataType, arrow
from kaname.features.types import Type

PURPOSE = "features in columns"
_SIMPLE = {
    "string": "string",
    "bytes": "binary",
    "bool": "bool_",
    "int32": "int32",
    "int64": "int64",
    "float32": "float32",
    "float64": "float64",
    "date": "date32",
    "json": "string",
}
_json = msgspec.json.Encoder().encode


def arrow_type(of: Type) -> DataType:
    """The Arrow type of values; JSON is text. Raises MissingDependency."""
    pa = arrow(PURPOSE).pa
    if of.name == "timestamp":
        return pa.timestamp("us", "UTC")
    if of.name == "decimal":
        return pa.decimal128(of.precision, of.scale)
    if of.name == "vector":
        return pa.list_(getattr(pa, of.item)(), of.length)
    return getattr(pa, _SIMPLE[of.name])()


def arrow_array(values: Sequence[object], of: Type) -> Array:
    """Values of attributes, None for null, as one column."""
    if of.name == "json":
        values = [None if value is None else _json(value).decode() for value in values]
    return arrow(PURPOSE).pa.array(values, arrow_type(of))
