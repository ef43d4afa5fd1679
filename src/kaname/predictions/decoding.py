"""Blocks of the prediction record back into events, and blocks without the events that must go."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np

from kaname.errors import CorruptData, KanameError
from kaname.predictions.columns import FORMAT, Body, Cells, Column, Each, Hashed, Numbers, Packed, Whole
from kaname.predictions.encoding import as_cell
from kaname.predictions.types import Digest, Prediction
from kaname.storage.events.types import Block
from kaname.tensors import NUMPY_OF, decode_binary

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(Body).decode
_format_of = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_int_of = msgspec.msgpack.Decoder(int).decode

_MISSING: Any = object()
"""The request has no such part (a refused one, or a tensor where others have a table)."""


def decode(block: Block) -> list[Prediction]:
    """The events of a block, deleted ones left out. Raises CorruptData."""
    body = _body(block)
    try:
        return _events(block, body)
    except (ArithmeticError, LookupError, TypeError, ValueError, KanameError) as error:
        raise CorruptData(
            "the parts of a block of the prediction record do not fit together",
            where=_place(block),
            found=f"{type(error).__name__}: {error}",
        ) from error


def _events(block: Block, body: Body) -> list[Prediction]:
    rows = body.rows or [1] * len(body.request_ids)
    spans = _spans(rows)
    inputs = [_expand(column, spans) for column in body.inputs]
    outputs = [_expand(column, spans) for column in body.outputs]
    target, cached = body.target, frozenset(body.cached)
    return [
        Prediction(
            partition=block.partition,
            offset=block.offset + (body.places[i] if body.places else i),
            request_id=body.request_ids[i],
            time_us=body.times_ns[i] // 1000,
            latency_us=body.latencies_ns[i] // 1000,
            model=target.model,
            model_id=target.model_id,
            version=target.version,
            version_id=target.version_id,
            key_id=body.keys[body.key_of[i] if body.key_of else 0],
            rows=rows[i],
            status="error" if i in body.errors else "ok",
            cached=i in cached,
            trace_id=body.traces.get(i),
            error=body.errors.get(i),
            inputs=_named(body.input_names, inputs, i),
            outputs={} if i in body.errors else _named(body.output_names, outputs, i),
        )
        for i in range(len(body.request_ids))
    ]


def without(block: Block, belongs: Callable[[Prediction], bool]) -> tuple[bytes, int]:
    """The block's value without the events that belong to a subject, and how many those are.

    The remaining events keep their offsets. Raises CorruptData.
    """
    events = decode(block)
    kept = [i for i, event in enumerate(events) if not belongs(event)]
    if len(kept) == len(events):
        return block.value, 0
    body = _body(block)
    spans = _spans(body.rows or [1] * len(events))
    used = sorted({body.key_of[i] for i in kept}) if body.key_of else [0] * bool(kept)
    cached = frozenset(body.cached)
    left = msgspec.structs.replace(
        body,
        request_ids=[body.request_ids[i] for i in kept],
        times_ns=[body.times_ns[i] for i in kept],
        latencies_ns=[body.latencies_ns[i] for i in kept],
        keys=[body.keys[key] for key in used],
        key_of=[used.index(body.key_of[i]) for i in kept] if len(used) > 1 else [],
        rows=[body.rows[i] for i in kept] if body.rows else [],
        inputs=[_reduce(column, spans, kept) for column in body.inputs],
        outputs=[_reduce(column, spans, kept) for column in body.outputs],
        errors={place: body.errors[i] for place, i in enumerate(kept) if i in body.errors},
        places=[body.places[i] if body.places else i for i in kept],
        cached=[place for place, i in enumerate(kept) if i in cached],
        traces={place: body.traces[i] for place, i in enumerate(kept) if i in body.traces},
    )
    return _pack(left), len(events) - len(kept)


def _body(block: Block) -> Body:
    where = _place(block)
    try:
        found = _int_of(_format_of(block.value)[0])
        if found <= FORMAT:
            return _unpack(block.value)
    except (msgspec.DecodeError, UnicodeDecodeError, IndexError) as error:
        raise CorruptData(
            "a block of the prediction record cannot be read",
            where=where,
            found=str(error),
            expected=f"format {FORMAT}",
        ) from error
    raise CorruptData(
        "the prediction record was written by a newer version; upgrade to read it",
        where=where,
        found=f"format {found}",
        expected=f"format {FORMAT} or older",
    )


def _place(block: Block) -> str:
    return f"{block.partition}@{block.offset}"


def _spans(rows: Any) -> list[tuple[int, int]]:
    """First row and end of each request among the rows of the block."""
    ends = [0]
    for size in rows:
        ends.append(ends[-1] + size)
    return list(pairwise(ends))


def _named(names: tuple[str, ...], columns: list[list[Any]], event: int) -> dict[str, Any]:
    pairs = zip(names, columns, strict=True)
    return {name: column[event] for name, column in pairs if column[event] is not _MISSING}


def _expand(column: Column | None, spans: list[tuple[int, int]]) -> list[Any]:
    """One value per request; None where it is redacted."""
    if column is None:
        return [None] * len(spans)
    if isinstance(column, Cells):
        return [list(column.values[at:end]) for at, end in spans]
    if isinstance(column, Each):
        return [_plain(value) for value in column.values]
    if isinstance(column, Numbers):
        numbers = _numbers(column)
        return [numbers[at:end] for at, end in spans]
    shape = (spans[-1][1] if spans else 0, *column.row_shape)
    tensor = np.frombuffer(column.data, dtype=NUMPY_OF[column.datatype]).reshape(shape)
    return [tensor[at:end].tolist() for at, end in spans]


def _numbers(column: Numbers) -> list[float | int | None]:
    return [as_cell(number, column.whole) for number in np.frombuffer(column.data, NUMPY_OF["FP64"]).tolist()]


def _plain(value: Cells | Whole | Hashed | None) -> object:
    if value is None:
        return _MISSING
    if isinstance(value, Cells):
        return list(value.values)
    if isinstance(value, Hashed):
        return Digest(value.hash, value.datatype, value.shape)
    found: object = decode_binary(value.data, value.datatype, value.shape, "record").tolist()
    return found


def _reduce(column: Column | None, spans: list[tuple[int, int]], kept: list[int]) -> Column | None:
    """The column with the values of some of its requests only."""
    if column is None:
        return None
    if isinstance(column, Cells):
        return Cells([value for i in kept for value in column.values[slice(*spans[i])]])
    if isinstance(column, Each):
        return Each([column.values[i] for i in kept])
    if isinstance(column, Numbers):
        return Numbers(b"".join([column.data[spans[i][0] * 8 : spans[i][1] * 8] for i in kept]), column.whole)
    rows = spans[-1][1] if spans else 0
    size = len(column.data) // rows if rows else 0
    return Packed(
        column.datatype,
        column.row_shape,
        b"".join([column.data[spans[i][0] * size : spans[i][1] * size] for i in kept]),
    )
