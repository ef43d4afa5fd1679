"""Requests of one version as a block of columns in MessagePack, and back.

Blocks of the usual traffic (answers, small values) are written column by column over all requests at once: the
writer thread shares the interpreter with the event loop, so every microsecond here is one less for answers.
Whatever does not fit that form (errors, large tensors, odd shapes) is written request by request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from operator import sub
from typing import Any, NamedTuple, TypeVar

import blake3
import msgspec
import numpy as np

from kaname.call import Outputs, Row
from kaname.errors import KanameError
from kaname.predictions.building import (
    number_columns,
    output_columns,
    picker,
    table_columns,
    tensor_columns,
    there,
    value,
)
from kaname.predictions.columns import FORMAT, Body, Cells, Column, Each, Hashed, Whole
from kaname.predictions.items import Item, RunItems
from kaname.predictions.source import Source
from kaname.predictions.types import RecordedError
from kaname.tensors import Tensor

BLOCK_BYTES = 1024 * 1024
"""Larger blocks are split: the log wants pages that lie side by side."""
BLOCK_EVENTS = 2048
"""More requests make several blocks, so that the thread leaves the interpreter to the event loop in between."""


T = TypeVar("T")


class Encoded(NamedTuple):
    """A block for the log; times in µs since epoch."""

    events: int
    first_us: int
    last_us: int
    value: bytes


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


def encode_runs(source: Source, runs: Sequence[RunItems], wall_ns: int) -> list[Encoded]:
    """The calls of whole runs likewise, without a look at each where they fit columns."""
    blocks: list[Encoded] = []
    for part in _parts(runs):
        try:
            block = _encode_runs(source, part, wall_ns)
        except _MISFITS:
            block = None
        if block is not None and len(block.value) <= BLOCK_BYTES:
            blocks.append(block)
        else:
            blocks += encode(source, [item for run in part for item in run.items()], wall_ns)
    return blocks


def _parts(runs: Sequence[RunItems]) -> Iterator[list[RunItems]]:
    """Runs together, of at most `BLOCK_EVENTS` calls or of one run."""
    part: list[RunItems] = []
    events = 0
    for run in runs:
        events += len(run.ids)
        if part and events > BLOCK_EVENTS:
            yield part
            part, events = [], len(run.ids)
        part.append(run)
    if part:
        yield part


def _encode_runs(source: Source, parts: Sequence[RunItems], wall_ns: int) -> Encoded:
    """Columns over all calls of the runs; raises one of several errors when something does not fit."""
    all_ids, all_started, all_ended, all_rows, all_keys, tables, tensors, runs = zip(*parts, strict=True)
    rows = _joined(all_rows)

    def pick(of: Callable[[Outputs], Tensor | None]) -> Tensor:
        return np.concatenate([there(of(run)) for run in runs])

    if any(run.cached or len(run.tensors[0]) != sum(own) for run, own in zip(runs, all_rows, strict=True)):
        raise ValueError("answers of a cache, or outputs that are not one row for each that was asked")
    outputs = output_columns(source, runs, pick, chain.from_iterable(map(RunItems.slices, parts)))
    most = max(rows)
    if runs[0].cells is not None:
        names, inputs = source.feature_names, number_columns(source, pick(lambda run: run.cells), most)
    elif tables[0][0] is not None:
        names, inputs = source.feature_names, table_columns(source, _joined(tables), most)
    else:
        names, inputs = source.input_names, tensor_columns(source, _joined(tensors), rows)
    started = _joined(all_started)
    return _finish(
        source, names, _joined(all_ids), [at + wall_ns for at in started], list(map(sub, _joined(all_ended), started)),
        _joined(all_keys), rows if most > 1 else (), inputs, outputs, {}, [], {},
    )  # fmt: skip


def _joined(lists: Iterable[list[T]]) -> list[T]:
    return list(chain.from_iterable(lists))


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
    ids, started, ended, rows, keys, tables, tensors, runs, starts, stops, traces = zip(*items, strict=True)
    if set(map(type, runs)) != {Outputs}:
        raise TypeError("an error among the answers")
    most = max(rows)
    pick = picker(rows, runs, starts, stops)
    if runs[0].cells is not None:
        names, inputs = source.feature_names, number_columns(source, pick(lambda run: run.cells), most)
    elif tables[0] is not None:
        names, inputs = source.feature_names, table_columns(source, tables, most)
    else:
        names, inputs = source.input_names, tensor_columns(source, tensors, rows)
    outputs = output_columns(source, runs, pick, zip(runs, starts, stops, strict=True))
    return _finish(
        source, names, ids, [at + wall_ns for at in started], list(map(sub, ended, started)), keys,
        rows if most > 1 else (), inputs, outputs, {}, _cached(runs), _traced(traces),
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
    traces: dict[int, str],
) -> Encoded:
    distinct = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    key_of = [distinct[key] for key in keys] if len(distinct) > 1 else []
    body = Body(
        FORMAT, source.target, names, source.output_names, ids, times, latencies,
        list(distinct), key_of, rows, inputs, outputs, errors, [], cached, traces,
    )  # fmt: skip
    return Encoded(len(ids), min(times) // 1000, max(times) // 1000, _pack(body))


def _cached(found: Sequence[Outputs | KanameError]) -> list[int]:
    """Positions of the answers that came from a cache. Runs are asked first: there are fewer of them."""
    if not any(type(run) is Outputs and run.cached for run in dict.fromkeys(found)):
        return []
    return [i for i, run in enumerate(found) if type(run) is Outputs and run.cached]


def _traced(traces: Sequence[str]) -> dict[int, str]:
    """Ids of traces by position, of those who have one."""
    return {i: trace for i, trace in enumerate(traces) if trace} if any(traces) else {}


# --- one by one -----------------------------------------------------------------------------------------


def _encode_each(source: Source, items: Sequence[Item], wall_ns: int, *, values: bool = True) -> Encoded:
    """Any items at all: one value per request and column, errors beside them; or all of it but the values."""
    ids, started, ended, rows, keys, given_tables, tensors, found, starts, stops, traces = zip(*items, strict=True)
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
        list(map(sub, ended, started)), keys, rows, inputs, outputs, errors, _cached(found), _traced(traces),
    )  # fmt: skip


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
            return value(source, tensors[position])
    return None


def _output(
    source: Source, found: Outputs | KanameError, start: int, stop: int | None, position: int
) -> Whole | Hashed | None:
    if not isinstance(found, Outputs):
        return None
    tensor = found.tensors[position]
    return value(source, tensor if stop is None or not source.batched else tensor[start:stop])


def _cells(source: Source, values: list[Any]) -> Cells | Hashed:
    packed = _pack(values)
    if len(packed) <= max(source.max_bytes, 9 * source.cells_rows + 5):
        return Cells(values)
    return Hashed(blake3.blake3(packed).hexdigest(), "CELLS", (len(values),))
