"""Rows of a relation by column: as Arrow has them, or as lists of values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from kaname.arrow import Array, RecordBatch
from kaname.errors import InvalidInput, MissingDependency
from kaname.features.bulk.arriving import check_finite
from kaname.features.columnar import arrow_array
from kaname.features.types import Attribute, Relation, Type


class OneByOne(Exception):
    """These values have to be written row by row, if only to say what is wrong with them."""


class Columns(Protocol):
    """The columns of whole rows."""

    def __len__(self) -> int:
        """How many rows there are."""

    def array(self, attribute: Attribute) -> Array:
        """The column of an attribute, for JSON of any values that are null where it is. Raises OneByOne."""

    def values(self, name: str) -> Sequence[object]:
        """The values of an attribute, None for null."""


class OfBatch:
    """Those of a batch that has every attribute (see `arriving`)."""

    def __init__(self, batch: RecordBatch, relation: Relation) -> None:
        """Raises InvalidInput for text that is no JSON."""
        self._batch = batch
        self._values = {
            one.name: _documents(batch.column(one.name).to_pylist(), one.name)
            for one in relation.attributes
            if one.type.name == "json"
        }

    def __len__(self) -> int:
        return int(self._batch.num_rows)

    def array(self, attribute: Attribute) -> Array:
        return self._batch.column(attribute.name)

    def values(self, name: str) -> Sequence[object]:
        if name not in self._values:
            self._values[name] = self._batch.column(name).to_pylist()
        return self._values[name]


class OfValues:
    """Values as rows have them. Arrow only carries them to their bytes, a column at a time."""

    def __init__(self, values: Mapping[str, Sequence[object]], count: int) -> None:
        self._values = values
        self._count = count
        self._arrays: dict[str, Array] = {}

    def __len__(self) -> int:
        return self._count

    def array(self, attribute: Attribute) -> Array:
        name = attribute.name
        if name not in self._arrays:
            self._arrays[name] = _array(self._values[name], attribute)
        return self._arrays[name]

    def values(self, name: str) -> Sequence[object]:
        return self._values[name]


_WIDE = {"float32": "float64"}
"""What holds the numbers that a narrower type would make infinite."""


def _array(values: Sequence[object], attribute: Attribute) -> Array:
    """Raises OneByOne for values that are none of the attribute, or that Arrow would change."""
    of = attribute.type
    if of.name == "json":
        return _array([None if value is None else True for value in values], Attribute(attribute.name, Type("bool")))
    try:
        wide = Type(_WIDE.get(of.name, of.name), of.precision, of.scale, _WIDE.get(of.item, of.item), of.length)
        if wide == of:
            return arrow_array(values, of)
        found = arrow_array(values, wide)
        narrow = found.cast(arrow_array([], of).type)
        check_finite(found, narrow, attribute)
    except (MissingDependency, InvalidInput, ValueError, TypeError, OverflowError, ArithmeticError) as error:
        raise OneByOne from error
    return narrow


def _documents(values: Sequence[str | None], name: str) -> list[object]:
    found: list[object] = []
    for i, value in enumerate(values):
        try:
            found.append(None if value is None else msgspec.json.decode(value))
        except (msgspec.DecodeError, RecursionError) as error:
            where = f"rows[{i}].{name}"
            raise InvalidInput("not JSON", where=where, found=str(error), expected="a text that holds JSON") from None
    return found
