"""The columns of a block: inputs and outputs of many requests at once.

All of it raises one of several errors when a request does not fit the form; the encoder then writes it by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain, repeat
from operator import is_
from typing import Any

import blake3
import numpy as np

from kaname.call import Outputs
from kaname.predictions.columns import Cells, Column, Each, Hashed, Numbers, Packed, Whole
from kaname.predictions.source import Source
from kaname.tensors import Tensor, binary_view, datatype_of

LIST_ELEMENTS = 64
"""Outputs with at most this many elements per row are kept as values, larger ones in binary form."""


def table_columns(source: Source, tables: Sequence[Any], most: int) -> list[Column | None]:
    """One column of cells per feature."""
    if most > source.cells_rows:
        raise ValueError("a table is too large to be kept as values")
    rows = [table[0] for table in tables] if most == 1 else chain.from_iterable(tables)
    columns = list(zip(*rows, strict=True))
    if len(columns) != len(source.feature_names):
        raise ValueError("the width of the table is not that of the signature")
    for position in source.text_columns:
        if sum(len(cell) for cell in columns[position] if cell is not None) > source.max_bytes:
            raise ValueError("a text column may be too large")
    redact = source.redact
    if not redact:
        return [Cells(column) for column in columns]
    return [
        None if name in redact else Cells(column) for name, column in zip(source.feature_names, columns, strict=True)
    ]


def tensor_columns(source: Source, tensors: Sequence[Any], rows: Sequence[int]) -> list[Column | None]:
    """One packed column per input whose tensors agree in datatype and row shape, else one value per request."""
    if not source.batched:
        raise ValueError("requests that are not rows are kept one by one")
    columns: list[Column | None] = []
    for name, arrays in zip(source.input_names, zip(*tensors, strict=True), strict=True):
        columns.append(None if name in source.redact else _input_column(source, arrays, rows))
    return columns


def _input_column(source: Source, arrays: Sequence[Tensor], rows: Sequence[int]) -> Column:
    first = arrays[0]
    dtype, row_shape = first.dtype, first.shape[1:]
    packable = dtype.hasobject is False and dtype.kind not in "SU"
    most = source.max_bytes
    for array, count in zip(arrays, rows, strict=True):
        if array.dtype is not dtype or array.shape[1:] != row_shape or array.nbytes > most or len(array) != count:
            packable = False
            break
    if packable:
        return Packed(datatype_of(dtype), row_shape, b"".join([array.tobytes() for array in arrays]))
    return Each([value(source, array) for array in arrays])


def output_columns(
    source: Source, runs: Sequence[Outputs], pick: Pick, slices: Iterable[tuple[Outputs, int, int | None]]
) -> list[Column | None]:
    """One column per output; `slices` are the rows of each request."""
    if not source.batched:
        raise ValueError("outputs that are not rows are kept one by one")
    distinct = dict.fromkeys(runs)
    each: list[tuple[Outputs, int, int | None]] = []
    columns: list[Column | None] = []
    for position, name in enumerate(source.output_names):
        if name in source.redact:
            columns.append(None)
            continue
        arrays = [run.tensors[position] for run in distinct]
        if any(array.dtype.hasobject or array.size > LIST_ELEMENTS * len(array) for array in arrays):
            each = each or list(slices)
            columns.append(Each([value(source, run.tensors[position][at:end]) for run, at, end in each]))
        else:
            column = pick(partial(_output_of, position))
            columns.append(Packed(datatype_of(column.dtype), column.shape[1:], column.tobytes()))
    return columns


def _output_of(position: int, run: Outputs) -> Tensor:
    return run.tensors[position]


Pick = Callable[[Callable[[Outputs], Tensor | None]], Tensor]
"""Takes an array of each run and puts the rows of all requests together, in the order of the requests."""


def picker(rows: Sequence[int], runs: Sequence[Outputs], starts: Sequence[int], stops: Sequence[int | None]) -> Pick:
    """Whole runs in their order, as nearly all blocks have them, are put together without looking at each request."""
    distinct = list(dict.fromkeys(runs))
    sizes = [len(run.tensors[0]) for run in distinct]
    if sum(sizes) == len(runs) == sum(rows) and list(starts) == list(chain.from_iterable(map(range, sizes))):
        expected = chain.from_iterable(map(repeat, distinct, sizes))
        if all(map(is_, runs, expected)):
            return lambda of: np.concatenate([there(of(run)) for run in distinct])
    own = list(zip(runs, starts, stops, strict=True))
    return lambda of: np.concatenate([there(of(run))[at:end] for run, at, end in own])


def there(array: Tensor | None) -> Tensor:
    if array is None:
        raise ValueError("a run without cells among others")
    return array


def number_columns(source: Source, cells: Tensor, most: int) -> list[Column | None]:
    """One column of numbers per feature."""
    if most > source.cells_rows:
        raise ValueError("a table is too large to be kept as values")
    if cells.shape[1] != len(source.feature_names):
        raise ValueError("the width of the table is not that of the signature")
    columns = zip(source.feature_names, source.whole, cells.T, strict=True)
    return [None if name in source.redact else Numbers(column.tobytes(), whole) for name, whole, column in columns]


def value(source: Source, tensor: Tensor) -> Whole | Hashed:
    datatype = datatype_of(tensor.dtype) if tensor.dtype.kind != "O" else "BYTES"
    raw = binary_view(tensor)
    if len(raw) > source.max_bytes:
        return Hashed(blake3.blake3(raw).hexdigest(), datatype, tensor.shape)
    return Whole(datatype, tensor.shape, bytes(raw))
