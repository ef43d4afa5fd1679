"""Requests of one version as a block of columns in MessagePack, and back.

Blocks of the usual traffic (answers, small values) are written column by column over all requests at once: the
writer thread shares the interpreter with the event loop, so every microsecond here is one less for answers.
Whatever does not fit that form (errors, large tensors, odd shapes) is written request by request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain, repeat
from operator import is_, sub
from typing import Any, NamedTuple

import blake3
import msgspec
import numpy as np

from kaname.call import Outputs, Row, Target
from kaname.errors import KanameError
from kaname.predictions.columns import FORMAT, Body, Cells, Column, Each, Hashed, Numbers, Packed, Whole
from kaname.predictions.items import Item
from kaname.predictions.types import RecordedError
from kaname.settings import Recording
from kaname.signature import Feature, Signature
from kaname.tensors import Tensor, binary_view, datatype_of

BLOCK_BYTES = 1024 * 1024
"""Larger blocks are split: the log wants pages that lie side by side."""
BLOCK_EVENTS = 2048
"""More requests make several blocks, so that the thread leaves the interpreter to the event loop in between."""
LIST_ELEMENTS = 64
"""Outputs with at most this many elements per row are kept as values, larger ones in binary form."""


class Encoded(NamedTuple):
    """A block for the log; times in µs since epoch."""

    events: int
    first_us: int
    last_us: int
    value: bytes


class Source:
    """What the encoder knows of a version and of what its owner wants recorded; built once."""

    __slots__ = (
        "batched", "cells_rows", "feature_names", "input_names", "max_bytes", "output_names",
        "redact", "target", "text_columns", "whole",
    )  # fmt: skip

    def __init__(self, target: Target, signature: Signature, recording: Recording) -> None:
        self.target = target
        self.feature_names = tuple(name for name, _ in signature.columns)
        self.input_names = tuple(spec.name for spec in signature.inputs)
        self.output_names = tuple(spec.name for spec in signature.outputs)
        self.redact = frozenset(recording.redact) | self._implied(signature, recording.redact)
        self.max_bytes = recording.max_bytes
        self.cells_rows = max(1, recording.max_bytes // 8)
        self.text_columns = tuple(i for i, f in enumerate(signature.features) if f.datatype == "BYTES")
        self.whole = tuple(_is_whole(feature) for feature in signature.features) or (False,) * len(self.feature_names)
        self.batched = signature.batched

    @staticmethod
    def _implied(signature: Signature, redact: Iterable[str]) -> frozenset[str]:
        """A tensor that holds a redacted feature is redacted too, and the features of a redacted tensor."""
        if signature.layout != "matrix" and not signature.plain_matrix:
            return frozenset()
        names = frozenset(name for name, _ in signature.columns)
        tensor = signature.inputs[0].name
        if tensor in redact:
            return names
        return frozenset({tensor}) if names & frozenset(redact) else frozenset()


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(Body).decode
_MISFITS = (AttributeError, TypeError, ValueError, IndexError, OverflowError, KanameError)
"""What is raised on the way to columns by requests that do not fit them."""


def encode(source: Source, items: Sequence[Item], wall_ns: int) -> list[Encoded]:
    """`items` as blocks; `wall_ns` is wall time minus monotonic time."""
    if len(items) > BLOCK_EVENTS:
        parts = (items[start : start + BLOCK_EVENTS] for start in range(0, len(items), BLOCK_EVENTS))
        return [block for part in parts for block in encode(source, part, wall_ns)]
    try:
        block = _encode_columns(source, items, wall_ns)
    except _MISFITS:
        return _encode_sorted(source, items, wall_ns)
    return _split(source, items, wall_ns, block)


def _encode_sorted(source: Source, items: Sequence[Item], wall_ns: int) -> list[Encoded]:
    """The requests that fit columns in a block for each kind of their inputs, and the rest in another."""
    cells: list[Item] = []
    tables: list[Item] = []
    tensors: list[Item] = []
    rest: list[Item] = []
    for item in items:
        table, outcome = item[5], item[7]
        if type(outcome) is not Outputs or not source.batched:
            rest.append(item)
        elif outcome.cells is not None:
            cells.append(item)
        else:
            (tables if table is not None else tensors).append(item)
    found: list[Encoded] = []
    for group in (cells, tables, tensors):
        if group:
            try:
                found += _split(source, group, wall_ns, _encode_columns(source, group, wall_ns))
            except _MISFITS:
                rest += group
    return found + _encode_rest(source, rest, wall_ns)


def _encode_rest(source: Source, items: Sequence[Item], wall_ns: int) -> list[Encoded]:
    """Requests that do not fit columns; one whose values cannot be written at all is kept without them."""
    if not items:
        return []
    try:
        block = _encode_each(source, items, wall_ns)
    except Exception:  # noqa: BLE001  (whatever a caller or a model put there, its request is recorded)
        if len(items) == 1:
            return [_encode_each(source, items, wall_ns, values=False)]
    else:
        if len(block.value) <= BLOCK_BYTES or len(items) == 1:
            return [block]
    half = len(items) // 2
    return _encode_rest(source, items[:half], wall_ns) + _encode_rest(source, items[half:], wall_ns)


def _split(source: Source, items: Sequence[Item], wall_ns: int, block: Encoded) -> list[Encoded]:
    if len(block.value) <= BLOCK_BYTES or len(items) == 1:
        return [block]
    size = max(1, len(items) * BLOCK_BYTES // (2 * len(block.value)))
    parts = (items[start : start + size] for start in range(0, len(items), size))
    return [block for part in parts for block in encode(source, part, wall_ns)]


def _encode_columns(source: Source, items: Sequence[Item], wall_ns: int) -> Encoded:
    """Columns over all items; raises one of several errors when an item does not fit (see `encode`)."""
    ids, started, ended, rows, keys, tables, tensors, runs, starts, stops = zip(*items, strict=True)
    if set(map(type, runs)) != {Outputs}:
        raise TypeError("an error among the answers")
    most = max(rows)
    pick = _picker(rows, runs, starts, stops)
    if runs[0].cells is not None:
        names, inputs = source.feature_names, _number_columns(source, pick(lambda run: run.cells), most)
    elif tables[0] is not None:
        names, inputs = source.feature_names, _table_columns(source, tables, most)
    else:
        names, inputs = source.input_names, _tensor_columns(source, tensors, rows)
    outputs = _output_columns(source, runs, starts, stops, pick)
    return _finish(
        source, names, ids, [at + wall_ns for at in started], list(map(sub, ended, started)), keys,
        rows if most > 1 else (), inputs, outputs, {}, _cached(runs),
    )  # fmt: skip


def _finish(
    source: Source,
    names: tuple[str, ...],
    ids: Sequence[str],
    times: Sequence[int],
    latencies: list[int],
    keys: Sequence[str],
    rows: Sequence[int],
    inputs: list[Column | None],
    outputs: list[Column | None],
    errors: dict[int, RecordedError],
    cached: Sequence[int],
) -> Encoded:
    distinct = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    key_of = [distinct[key] for key in keys] if len(distinct) > 1 else []
    body = Body(
        FORMAT, source.target, names, source.output_names, ids, times, latencies,
        list(distinct), key_of, rows, inputs, outputs, errors, [], cached,
    )  # fmt: skip
    return Encoded(len(ids), min(times) // 1000, max(times) // 1000, _pack(body))


def _cached(found: Sequence[Outputs | KanameError]) -> list[int]:
    """Positions of the answers that came from a cache. Runs are asked first: there are fewer of them."""
    if not any(type(run) is Outputs and run.cached for run in dict.fromkeys(found)):
        return []
    return [i for i, run in enumerate(found) if type(run) is Outputs and run.cached]


def _table_columns(source: Source, tables: Sequence[Any], most: int) -> list[Column | None]:
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


def _tensor_columns(source: Source, tensors: Sequence[Any], rows: Sequence[int]) -> list[Column | None]:
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
    return Each([_value(source, array) for array in arrays])


def _output_columns(
    source: Source, runs: Sequence[Outputs], starts: Sequence[int], stops: Sequence[int | None], pick: Pick
) -> list[Column | None]:
    """One column per output."""
    if not source.batched:
        raise ValueError("outputs that are not rows are kept one by one")
    distinct = dict.fromkeys(runs)
    columns: list[Column | None] = []
    for position, name in enumerate(source.output_names):
        if name in source.redact:
            columns.append(None)
            continue
        arrays = [run.tensors[position] for run in distinct]
        if any(array.dtype.hasobject or array.size > LIST_ELEMENTS * len(array) for array in arrays):
            own = zip(runs, starts, stops, strict=True)
            columns.append(Each([_value(source, run.tensors[position][at:end]) for run, at, end in own]))
        else:
            column = pick(partial(_output_of, position))
            columns.append(Packed(datatype_of(column.dtype), column.shape[1:], column.tobytes()))
    return columns


def _output_of(position: int, run: Outputs) -> Tensor:
    return run.tensors[position]


Pick = Callable[[Callable[[Outputs], Tensor | None]], Tensor]
"""Takes an array of each run and puts the rows of all requests together, in the order of the requests."""


def _picker(rows: Sequence[int], runs: Sequence[Outputs], starts: Sequence[int], stops: Sequence[int | None]) -> Pick:
    """Whole runs in their order, as nearly all blocks have them, are put together without looking at each request."""
    distinct = list(dict.fromkeys(runs))
    sizes = [len(run.tensors[0]) for run in distinct]
    if sum(sizes) == len(runs) == sum(rows) and list(starts) == list(chain.from_iterable(map(range, sizes))):
        expected = chain.from_iterable(map(repeat, distinct, sizes))
        if all(map(is_, runs, expected)):
            return lambda of: np.concatenate([_there(of(run)) for run in distinct])
    own = list(zip(runs, starts, stops, strict=True))
    return lambda of: np.concatenate([_there(of(run))[at:end] for run, at, end in own])


def _there(array: Tensor | None) -> Tensor:
    if array is None:
        raise ValueError("a run without cells among others")
    return array


def _number_columns(source: Source, cells: Tensor, most: int) -> list[Column | None]:
    """One column of numbers per feature."""
    if most > source.cells_rows:
        raise ValueError("a table is too large to be kept as values")
    if cells.shape[1] != len(source.feature_names):
        raise ValueError("the width of the table is not that of the signature")
    columns = zip(source.feature_names, source.whole, cells.T, strict=True)
    return [None if name in source.redact else Numbers(column.tobytes(), whole) for name, whole, column in columns]


# --- one by one -----------------------------------------------------------------------------------------


def _encode_each(source: Source, items: Sequence[Item], wall_ns: int, *, values: bool = True) -> Encoded:
    """Any items at all: one value per request and column, errors beside them; or all of it but the values."""
    ids, started, ended, rows, keys, given_tables, tensors, found, starts, stops = zip(*items, strict=True)
    tables = list(map(partial(_table, source), given_tables, found, starts, stops))
    tabular = any(table is not None for table in tables)
    names = tuple(dict.fromkeys((source.feature_names if tabular else ()) + source.input_names))
    given = list(zip(tables, tensors, strict=True))
    inputs: list[Column | None] = [
        None if name in source.redact else Each([_input(source, *one, name) if values else None for one in given])
        for name in names
    ]
    answers = list(zip(found, starts, stops, strict=True))
    outputs: list[Column | None] = [
        None if name in source.redact else Each([_output(source, *one, i) if values else None for one in answers])
        for i, name in enumerate(source.output_names)
    ]
    text = str if values else _clean
    errors = {
        position: RecordedError(error.code, text(error.message), error.where and text(error.where))
        for position, error in enumerate(found)
        if isinstance(error, KanameError)
    }
    return _finish(
        source, names, [text(request_id) for request_id in ids], [at + wall_ns for at in started],
        list(map(sub, ended, started)), keys, rows, inputs, outputs, errors, _cached(found),
    )  # fmt: skip


def _is_whole(feature: Feature) -> bool:
    return feature.categories is None and not feature.datatype.startswith("FP")


def as_cell(number: float, whole: bool) -> float | int | None:
    """A number of `Outputs.cells` as it was asked."""
    if number != number:
        return None
    return int(number) if whole else number


def _table(
    source: Source, given: Sequence[Row] | None, found: Outputs | KanameError, start: int, stop: int | None
) -> Sequence[Row] | None:
    """The table of a request, from the cells of its run where those are kept instead."""
    if isinstance(found, KanameError) or found.cells is None:
        return given
    whole = source.whole
    rows = found.cells[start:stop].tolist()
    return [[as_cell(cell, is_int) for cell, is_int in zip(row, whole, strict=True)] for row in rows]


def _clean(text: str) -> str:
    """`text` without what UTF-8 cannot hold."""
    return text.encode(errors="replace").decode()


def _input(
    source: Source, table: Sequence[Row] | None, tensors: tuple[Tensor, ...] | None, name: str
) -> Cells | Whole | Hashed | None:
    """The value of one name in one request; None where the request has no such part."""
    if table is not None and name in source.feature_names:
        position = source.feature_names.index(name)
        return _cells(source, [row[position] if position < len(row) else None for row in table])
    if tensors is not None and name in source.input_names:
        position = source.input_names.index(name)
        if position < len(tensors):
            return _value(source, tensors[position])
    return None


def _output(
    source: Source, found: Outputs | KanameError, start: int, stop: int | None, position: int
) -> Whole | Hashed | None:
    if not isinstance(found, Outputs):
        return None
    tensor = found.tensors[position]
    return _value(source, tensor if stop is None or not source.batched else tensor[start:stop])


def _cells(source: Source, values: list[Any]) -> Cells | Hashed:
    packed = _pack(values)
    if len(packed) <= max(source.max_bytes, 9 * source.cells_rows + 5):
        return Cells(values)
    return Hashed(blake3.blake3(packed).hexdigest(), "CELLS", (len(values),))


def _value(source: Source, tensor: Tensor) -> Whole | Hashed:
    datatype = datatype_of(tensor.dtype) if tensor.dtype.kind != "O" else "BYTES"
    raw = binary_view(tensor)
    if len(raw) > source.max_bytes:
        return Hashed(blake3.blake3(raw).hexdigest(), datatype, tensor.shape)
    return Whole(datatype, tensor.shape, bytes(raw))
