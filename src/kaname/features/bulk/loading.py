"""Writes columns into a relation: Arrow, or lists of values."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from kaname.arrow import RecordBatch, Table, arrow
from kaname.errors import InvalidInput
from kaname.features.bulk.arriving import arriving, moments_of
from kaname.features.bulk.columns import OfBatch, OfValues
from kaname.features.bulk.encoding import BatchRows
from kaname.features.columnar import PURPOSE
from kaname.features.history.moments import At, Known, moments_in
from kaname.features.stored import StoredRelation

ROWS_AT_ONCE = 20_000
FEW = 200
"""Rows that are written one by one: columns cost something, too, and Arrow is loaded for none."""

Columns: TypeAlias = Table | RecordBatch | Iterable[RecordBatch]
"""A Table, a RecordBatch, or batches one after the other, as a RecordBatchReader has them."""


def load(
    relation: StoredRelation, data: Columns, progress: Callable[[int], None] = lambda _: None, at: Known | None = None
) -> int:
    """Write whole rows over those with the same keys, `ROWS_AT_ONCE` after the other, each durable before the next;
    returns how many. `progress` gets the rows so far. `at`: when they became known (see `StoredRelation.insert`); a
    column that says so need not be an attribute.

    Raises InvalidInput with `rows[i].attribute` for what does not fit, and what the store raises; batches before it
    were written then, and the same again is safe.
    """
    written = 0
    for batch in _batches(data):
        try:
            with _uncollected():
                written += _insert_batch(relation, batch, at)
        except InvalidInput as error:
            raise _counted(error, written) from None
        progress(written)
    return written


def insert_columns(relation: StoredRelation, values: dict[str, list[object]], at: At | str | None = None) -> int:
    """Write whole rows by the values of each attribute, None for null; returns how many, when they are durable.

    `at`: as `load`. Raises as `StoredRelation.insert` does.
    """
    if isinstance(at, str):
        at, values = moments_in(values[at], at), {name: values[name] for name in relation.relation.names}
    count = len(next(iter(values.values())))
    if count < FEW:
        return relation.insert(
            [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)], at=at
        )
    with _uncollected():
        rows = BatchRows(OfValues(values, count), relation.relation)
        return relation.insert_made(rows, rows.made, at=at)


def _insert_batch(relation: StoredRelation, batch: RecordBatch, at: Known | None) -> int:
    of = relation.relation
    moments: At | None = moments_of(batch, at) if isinstance(at, str) else at
    if isinstance(at, str) and at not in of.names:
        batch = batch.drop_columns([at])
    rows = BatchRows(OfBatch(arriving(batch, of), of), of)
    return relation.insert_made(rows, rows.made, at=moments)


@contextmanager
def _uncollected() -> Iterator[None]:
    """A batch is a hundred thousand objects and no circle: the collector would look at them, and at all that a program
    has, several times, which takes a third of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _batches(data: Columns) -> Iterator[RecordBatch]:
    pa = arrow(PURPOSE).pa
    if isinstance(data, pa.Table):
        data = data.to_batches()
    elif isinstance(data, pa.RecordBatch):
        data = [data]
    for batch in data:
        for start in range(0, batch.num_rows, ROWS_AT_ONCE):
            yield batch.slice(start, ROWS_AT_ONCE)


def _counted(error: InvalidInput, before: int) -> InvalidInput:
    """The error with the row counted from the start."""
    where = error.where or ""
    if where.startswith("rows["):
        number, _, rest = where[5:].partition("]")
        where = f"rows[{int(number) + before}]{rest}"
    return InvalidInput(error.message, where=where, found=error.found, expected=error.expected)
