"""The history of a relation in columns: as Arrow batches, or as a Parquet file, however long it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from kaname.arrow import RecordBatch, Schema, arrow
from kaname.errors import InvalidInput
from kaname.features.columnar import PURPOSE, arrow_array, arrow_type
from kaname.features.history.reading import Change
from kaname.features.types import Attribute, Type

AT, CHANGE, NAMED = "history.at", "history.change", "history.attributes"
"""Columns beside the attributes, whose names have no point: when the write became known; insert, update or delete; of
an update which attributes it wrote."""
ROWS_AT_ONCE = 20_000


def schema_of(attributes: Sequence[Attribute]) -> Schema:
    """The columns of a history."""
    pa = arrow(PURPOSE).pa
    fields = [(AT, arrow_type(Type("timestamp"))), (CHANGE, pa.string()), (NAMED, pa.list_(pa.string()))]
    return pa.schema(fields + [(attribute.name, arrow_type(attribute.type)) for attribute in attributes])


def batches(changes: Iterable[Change], attributes: Sequence[Attribute]) -> Iterator[RecordBatch]:
    """The writes as Arrow batches of `ROWS_AT_ONCE` rows. Raises MissingDependency, and what `changes` raises."""
    pa, schema = arrow(PURPOSE).pa, schema_of(attributes)
    rest = iter(changes)
    while part := list(islice(rest, ROWS_AT_ONCE)):
        columns = [
            pa.array([change.at_us for change in part], pa.int64()).cast(schema.field(AT).type),
            pa.array([change.kind for change in part]),
            pa.array(
                [None if change.named is None else sorted(change.named) for change in part], schema.field(NAMED).type
            ),
        ]
        columns += [arrow_array([change.row[each.name] for change in part], each.type) for each in attributes]
        yield pa.record_batch(columns, schema)


def export_parquet(
    found: Iterable[RecordBatch], schema: Schema, path: Path, progress: Callable[[int], None] = lambda _: None
) -> int:
    """Write batches to a file, which appears under its name when it is complete; returns how many rows.

    `progress` gets the rows so far. Raises InvalidInput for a name of another kind of file, OSError, and what `found`
    raises.
    """
    if path.suffix.lower() not in (".parquet", ".pq"):
        raise InvalidInput("not a Parquet file", where=str(path), expected="a name that ends in .parquet")
    draft, written = path.with_name(path.name + ".draft"), 0
    try:
        with arrow(PURPOSE).parquet.ParquetWriter(draft, schema, compression="zstd") as file:
            for batch in found:
                file.write_batch(batch)
                written += batch.num_rows
                progress(written)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return written
