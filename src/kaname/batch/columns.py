"""Columns of a file as the inputs of a model: whole columns at once, and where one does not fit, which cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from kaname.arrow import Array, DataType, arrow
from kaname.batch.types import PURPOSE, BadCell, mask_of
from kaname.errors import InvalidInput
from kaname.signature import Feature, Signature
from kaname.tensors import FLOATS, NUMPY_OF, Tensor

Column = tuple[Tensor, list[BadCell]]
"""One value per row, and the cells that have none; their places in the values hold anything."""
SHOWN = 80
_CATEGORIES_SHOWN = 12


def features_of(signature: Signature) -> tuple[Feature, ...]:
    """The columns that a model reads: its features, or the numbers of the single row that it takes.

    Raises InvalidInput for a model whose inputs are no table.
    """
    if not signature.batched:
        raise InvalidInput("this model takes one request at a time, not rows", expected="a model with batched inputs")
    if signature.features:
        return signature.features
    return tuple(Feature(name=name, datatype=datatype) for name, datatype in signature.columns)


def assemble(
    signature: Signature, columns: Mapping[str, Column], count: int
) -> tuple[tuple[Tensor, ...], list[BadCell]]:
    """The inputs of the rows in which no cell is bad, and what is bad in the others."""
    names = [feature.name for feature in features_of(signature)]
    bad = [cell for name in names for cell in columns[name][1]]
    values = [columns[name][0] for name in names]
    if bad:
        good = mask_of(count, tuple(bad))
        values = [column[good] for column in values]
        count = int(good.sum())
    if signature.layout == "matrix" or signature.plain_matrix:
        matrix = np.empty((count, len(names)), NUMPY_OF[signature.inputs[0].datatype])
        for at, column in enumerate(values):
            matrix[:, at] = column
        return (matrix,), bad
    inputs = []
    for spec, column in zip(signature.inputs, values, strict=True):
        shape = (-1, 1) if len(spec.shape) == 2 else (-1,)
        inputs.append(np.ascontiguousarray(column, NUMPY_OF[spec.datatype]).reshape(shape))
    return tuple(inputs), bad


def spread(array: Array, places: NDArray[np.intp], count: int) -> Array:
    """The values at `places` of `count`, null elsewhere."""
    source = np.full(count, -1, np.int64)
    source[places] = np.arange(len(places))
    return array.take(arrow(PURPOSE).pa.array(source, mask=source < 0))


# --- from lists of Python values ------------------------------------------------------------------------


def of_list(feature: Feature, values: Sequence[object]) -> Column:
    """Values that have the feature's type already (a typed decoder made them); None is null."""
    if feature.categories is not None:
        codes = {name: float(code) for code, name in enumerate(feature.categories)}
        found = np.array([np.nan if v is None else codes.get(str(v), -1.0) for v in values], np.float64)
        return _coded(feature, found, lambda at: values[at])
    if feature.datatype == "BYTES":
        out = np.empty(len(values), object)
        out[:] = [b"" if v is None else str(v).encode() for v in values]
        return out, []
    if feature.datatype in FLOATS:
        return _within(feature, np.array(values, np.float64), lambda at: values[at])
    if feature.datatype == "BOOL":
        return np.array(values, np.bool_), []
    return _whole(feature, values)


def _whole(feature: Feature, values: Sequence[object]) -> Column:
    """Whole numbers, which Python holds in any size."""
    bounds = np.iinfo(NUMPY_OF[feature.datatype])
    bad = []
    for row, value in enumerate(values):
        if value is None:
            bad.append(_null(feature, row))
        elif not bounds.min <= int(str(value)) <= bounds.max:
            bad.append(_too_large(feature, row, value))
    if bad:
        wrong = {cell.row for cell in bad}
        values = [0 if row in wrong else value for row, value in enumerate(values)]
    return np.array(values, NUMPY_OF[feature.datatype]), bad


# --- from columns of Arrow ------------------------------------------------------------------------------


def check_type(feature: Feature, kind: DataType, where: str) -> None:
    """Raise InvalidInput when a column of this Arrow type cannot hold the feature."""
    types = arrow(PURPOSE).pa.types
    inner = kind.value_type if types.is_dictionary(kind) else kind
    texts = types.is_string(inner) or types.is_large_string(inner) or types.is_string_view(inner)
    if feature.categories is not None or feature.datatype == "BYTES":
        fits, expected = texts, "text"
    elif feature.datatype in FLOATS:
        numbers = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
        fits, expected = numbers, "numbers"
    elif feature.datatype == "BOOL":
        fits, expected = types.is_boolean(kind), "true or false"
    else:
        fits, expected = types.is_integer(kind), "whole numbers"
    if not fits and not types.is_null(kind):
        raise InvalidInput(
            "the column has another type", where=f"{where} {feature.name}", found=str(kind), expected=expected
        )


def of_array(feature: Feature, array: Array) -> Column:
    """A column whose type `check_type` accepted."""
    if feature.categories is not None:
        return _category(feature, array)
    pa, pc = arrow(PURPOSE).pa, arrow(PURPOSE).compute
    if feature.datatype == "BYTES":
        return _bytes(feature, array)
    nulls = array.is_null().to_numpy(zero_copy_only=False) if array.null_count else None
    if feature.datatype in FLOATS:
        floats: Tensor = pc.cast(array, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        found, bad = _within(feature, floats, lambda at: array[at].as_py())
        return found, bad if nulls is None or feature.nullable else bad + _nulls(feature, nulls)
    if feature.datatype == "BOOL":
        values: Tensor = array.cast(pa.bool_()).fill_null(False).to_numpy(zero_copy_only=False)
        return values.astype(np.bool_), [] if nulls is None else _nulls(feature, nulls)
    values = (pc.cast(array, pa.int64()) if pa.types.is_null(array.type) else array).fill_null(0).to_numpy()
    bounds = np.iinfo(NUMPY_OF[feature.datatype])
    beyond = (values < bounds.min) | (values > bounds.max)
    bad = [_too_large(feature, int(row), values[row].item()) for row in np.flatnonzero(beyond)]
    return values.astype(NUMPY_OF[feature.datatype]), bad if nulls is None else bad + _nulls(feature, nulls)


def _category(feature: Feature, array: Array) -> Column:
    assert feature.categories is not None
    pa = arrow(PURPOSE).pa
    if pa.types.is_null(array.type):
        array = array.cast(pa.string())
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    known = {name: float(code) for code, name in enumerate(feature.categories)}
    codes = np.array([*(known.get(name, -1.0) for name in array.dictionary.to_pylist()), np.nan], np.float64)
    places = array.indices.fill_null(len(codes) - 1).to_numpy(zero_copy_only=False)
    return _coded(feature, codes[places], lambda at: array[at].as_py())


def _coded(feature: Feature, found: NDArray[np.float64], value: Callable[[int], object]) -> Column:
    """Positions of categories; -1 is one that is not known, NaN is null."""
    unknown = found == -1.0
    bad: list[BadCell] = []
    if not feature.nullable:
        bad = [_unknown(feature, int(row), value(int(row))) for row in np.flatnonzero(unknown)]
        bad += _nulls(feature, np.isnan(found))
    if feature.datatype in FLOATS:
        found[unknown] = np.nan
        return found, bad
    if feature.nullable:  # a whole number cannot say null
        bad = _nulls(feature, np.isnan(found) | unknown)
    return np.nan_to_num(found, nan=0.0).astype(NUMPY_OF[feature.datatype]), bad


def _bytes(feature: Feature, array: Array) -> Column:
    out = np.empty(len(array), object)
    out[:] = [b"" if text is None else text.encode() for text in array.to_pylist()]
    if not array.null_count or feature.nullable:
        return out, []
    return out, _nulls(feature, array.is_null().to_numpy(zero_copy_only=False))


# --- what may be wrong ----------------------------------------------------------------------------------


def _within(feature: Feature, values: NDArray[np.float64], value: Callable[[int], object]) -> Column:
    """Numbers that the feature's datatype can hold: what would become infinite in it is bad."""
    if feature.datatype == "FP64":
        return values, []
    with np.errstate(over="ignore", invalid="ignore"):
        narrow = values.astype(NUMPY_OF[feature.datatype])
    beyond = np.isinf(narrow) & np.isfinite(values)
    if not beyond.any():
        return narrow, []
    return narrow, [_too_large(feature, int(row), value(int(row))) for row in np.flatnonzero(beyond)]


def shown(value: object) -> str:
    """A value in an error message."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


def _bad(message: str, feature: Feature, row: int, found: str, expected: str) -> BadCell:
    return BadCell(row=row, column=feature.name, message=message, found=found, expected=expected)


def _too_large(feature: Feature, row: int, value: object) -> BadCell:
    return _bad("value out of range", feature, row, shown(value), f"a value that {feature.datatype} can hold")


def _null(feature: Feature, row: int) -> BadCell:
    return _bad("null where the model needs a value", feature, row, "null", expected_of(feature))


def _nulls(feature: Feature, nulls: NDArray[np.bool_]) -> list[BadCell]:
    return [_null(feature, int(row)) for row in np.flatnonzero(nulls)]


def _unknown(feature: Feature, row: int, value: object) -> BadCell:
    return _bad("unknown category", feature, row, shown(value), expected_of(feature))


def expected_of(feature: Feature) -> str:
    """What a cell of the feature holds, for people."""
    if feature.categories is not None:
        names = feature.categories
        listed = ", ".join(names[:_CATEGORIES_SHOWN])
        return f"one of {listed}" if len(names) <= _CATEGORIES_SHOWN else f"one of {listed}, … ({len(names)} in all)"
    if feature.datatype == "BYTES":
        return "text"
    if feature.datatype == "BOOL":
        return "true or false"
    return f"a {'number' if feature.datatype in FLOATS else 'whole number'} ({feature.datatype})"
