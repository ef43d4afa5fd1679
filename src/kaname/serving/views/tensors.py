"""Tensors of the Open Inference Protocol by the names of keys and columns, from any of its transports, as rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kaname.errors import InvalidInput
from kaname.serving.oip.asked import refuse_shared
from kaname.serving.oip.binary import Blobs
from kaname.serving.oip.decode import Decoder
from kaname.serving.oip.messages import InferInput
from kaname.serving.oip.values import shown
from kaname.serving.views.named import Named
from kaname.tensors import NUMPY_OF, Tensor


def rows_of(named: Named, inputs: Sequence[InferInput], decoder: Decoder, blobs: Blobs) -> list[dict[str, Any]]:
    """The rows of a request; a key of one element is that of all rows. Raises InvalidInput with the place."""
    columns: dict[str, list[Any]] = {}
    for i, one in enumerate(inputs):
        where, name = f"inputs[{i}]", one.name
        if name not in named.names:
            expected = ", ".join(named.names)
            raise InvalidInput("no such input", where=f"{where}.name", found=repr(name)[:80], expected=expected)
        if name in columns:
            raise InvalidInput("input given twice", where=f"{where}.name", found=repr(name)[:80], expected="once")
        columns[name] = _column(named, one, decoder, where, blobs)
    blobs.finish()
    count = max([len(column) for column in columns.values()])
    for i, (name, column) in enumerate(columns.items()):
        if len(column) == 1 and name in named.keys:
            columns[name] = column * count
        elif len(column) != count:
            where = f"inputs[{i}].shape[0]"
            raise InvalidInput("inputs of different rows", where=where, found=str(len(column)), expected=str(count))
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _column(named: Named, one: InferInput, decoder: Decoder, where: str, blobs: Blobs) -> list[Any]:
    """The values of an input, one per row."""
    shape, alone = one.shape, not named.is_nested(one.name)
    if one.datatype not in NUMPY_OF:
        raise InvalidInput("no such datatype", where=f"{where}.datatype", found=one.datatype[:40])
    if not shape or min(shape) < 0 or (alone and shape[1:] not in ([], [1])):
        expected = "[rows] or [rows, 1]" if alone else "[rows, …]"
        raise InvalidInput("wrong shape", where=f"{where}.shape", found=shown(shape), expected=expected)
    refuse_shared(one.parameters, f"{where}.parameters")
    flat = _flat(decoder.data(one, where, blobs, nullable=True), where)
    if one.datatype == "BYTES":
        flat = [named.text(one.name, value, where) for value in flat]
    return flat if alone else _nested(flat, shape)


def _flat(data: list[Any] | Tensor, where: str) -> list[Any]:
    """Elements with None for NaN, which JSON does not have; it has no infinity, either."""
    if isinstance(data, list):
        return data
    tensor = data.reshape(-1)
    if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
        if np.isinf(tensor).any():
            raise InvalidInput("not a number", where=where, found="infinity", expected="finite numbers")
        return [None if value != value else value for value in tensor.tolist()]
    return tensor.tolist()


def _nested(flat: list[Any], shape: Sequence[int]) -> list[Any]:
    array = np.empty(len(flat), dtype=object)
    array[:] = flat
    return array.reshape(tuple(shape)).tolist()  # type: ignore[no-any-return]  # at least one dimension
