"""Values of each type as columns of Apache Arrow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import msgspec

from kaname.arrow import Array, DataType, RecordBatch, arrow
from kaname.features.types import Row, Type

PURPOSE = "features in columns"
ROWS_AT_ONCE = 20_000
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


def batches(
    rows: Iterable[Row], columns: Sequence[tuple[str, Type]], rows_at_once: int = ROWS_AT_ONCE
) -> Iterator[RecordBatch]:
    """Rows as batches with these columns; at least one, which may be empty. Raises MissingDependency."""
    pa = arrow(PURPOSE).pa
    schema = pa.schema([(name, arrow_type(of)) for name, of in columns])
    left, some = iter(rows), list[Row]()
    while (more := list(islice(left, rows_at_once))) or not some:
        some = more
        yield pa.record_batch([arrow_array([row[name] for row in some], of) for name, of in columns], schema)
        if not more:
            return
