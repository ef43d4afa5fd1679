"""Arrow batches as they come, made to hold just what a relation holds."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from kaname.arrow import ChunkedArray, DataType, RecordBatch, Schema, arrow
from kaname.errors import InvalidInput
from kaname.features.columnar import PURPOSE, arrow_type
from kaname.features.history.moments import moments_in
from kaname.features.types import Attribute, Relation, Type


def schema_of(relation: Relation) -> Schema:
    """The columns of whole rows. Raises MissingDependency."""
    pa = arrow(PURPOSE).pa
    return pa.schema([pa.field(one.name, arrow_type(one.type), nullable=not one.key) for one in relation.attributes])


def arriving(batch: RecordBatch, relation: Relation) -> RecordBatch:
    """The batch with every attribute, in the order and the types of the relation; those that it lacks are null.

    Raises InvalidInput for a column that is no attribute, a key that is missing or null (`rows[i].attribute`),
    and values that cannot be what their attribute holds.
    """
    pa = arrow(PURPOSE).pa
    names = batch.schema.names
    for name in names:
        if name not in relation.names or names.count(name) > 1:
            expected = f"one column for each of {', '.join(relation.names)}"
            raise InvalidInput("no such attribute, or one that comes twice", where=name, expected=expected)
    columns = []
    for attribute in relation.attributes:
        if attribute.name in names:
            columns.append(_column(batch.column(attribute.name), attribute))
        elif attribute.key:
            raise InvalidInput("a key attribute is missing", where=attribute.name, expected="a column")
        else:
            columns.append(pa.nulls(batch.num_rows, arrow_type(attribute.type)))
    return pa.RecordBatch.from_arrays(columns, schema=schema_of(relation))


def moments_of(batch: RecordBatch, column: str) -> list[datetime]:
    """The moments in a column of a batch. Raises InvalidInput where there is none."""
    if column not in batch.schema.names:
        raise InvalidInput("no such column", where=column, expected="a column of moments")
    found = _column(batch.column(column), Attribute(column, Type("timestamp")))
    return moments_in(found.to_pylist(), column)


def _column(found: ChunkedArray, attribute: Attribute) -> Any:
    pa = arrow(PURPOSE).pa
    if pa.types.is_dictionary(found.type):
        found = found.dictionary_decode()
    wanted = arrow_type(attribute.type)
    if found.type != wanted:
        found = _cast(found, wanted, attribute)
    if attribute.key and found.null_count:
        row = found.is_null().index(pa.scalar(value=True)).as_py()
        raise InvalidInput("a key attribute is null", where=f"rows[{row}].{attribute.name}")
    return found


def _cast(found: Any, wanted: DataType, attribute: Attribute) -> Any:
    """Only to what holds the same values: no text of a number, no time without a zone, no digits lost."""
    pa = arrow(PURPOSE).pa
    problem: Exception | None = None
    if _may_become(found.type, wanted):
        try:
            cast = found.cast(wanted)
            check_finite(found, cast, attribute)
            return cast
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            problem = error
    raise InvalidInput(
        "not a column of this attribute" + ("" if problem is None else f": {problem}"),
        where=attribute.name,
        found=str(found.type),
        expected=f"{wanted} ({attribute.type})",
    )


def check_finite(found: Any, cast: Any, attribute: Attribute) -> None:
    """Raise InvalidInput where a number that is too large for float32 has become infinite."""
    a = arrow(PURPOSE)
    if is_list_like(found.type) and attribute.type.item == "float32":
        rows, found, cast = a.compute.list_parent_indices(found), found.flatten(), cast.flatten()
    elif attribute.type.name == "float32":
        rows = range(len(found))
    else:
        return
    if a.pa.types.is_floating(found.type):
        lost = a.compute.and_(a.compute.is_inf(cast), a.compute.is_finite(found))
        if a.compute.any(lost).as_py():
            at = lost.index(a.pa.scalar(value=True)).as_py()
            raise InvalidInput(
                "too large for float32", where=f"rows[{rows[at]}].{attribute.name}", found=str(found[at])
            )


def _may_become(found: DataType, wanted: DataType) -> bool:
    is_ = arrow(PURPOSE).pa.types
    if is_.is_null(found):
        return True
    if is_.is_timestamp(wanted):
        return bool(is_.is_timestamp(found) and found.tz)
    kinds = (
        lambda t: is_.is_integer(t) or is_.is_floating(t) or is_.is_decimal(t),
        lambda t: is_.is_string(t) or is_.is_large_string(t) or is_.is_string_view(t),
        lambda t: is_.is_binary(t) or is_.is_large_binary(t) or is_.is_binary_view(t) or is_.is_fixed_size_binary(t),
        is_.is_date,
        is_list_like,
    )
    return any(kind(found) and kind(wanted) for kind in kinds)


def is_list_like(kind: DataType) -> bool:
    """Whether its values are lists of any length, or of one."""
    is_ = arrow(PURPOSE).pa.types
    return bool(is_.is_list(kind) or is_.is_large_list(kind) or is_.is_fixed_size_list(kind))
