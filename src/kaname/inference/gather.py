"""Many calls' inputs into one set of tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from itertools import chain

import numpy as np

from kaname.call import Call, Row
from kaname.errors import InvalidInput
from kaname.signature import Signature
from kaname.tensors import FLOATS, NUMPY_OF, Tensor

Gathered = tuple[tuple[Tensor, ...], Tensor | None]
"""The inputs of a run, and the cells they were made of (see `Outputs.cells`)."""
Gather = Callable[[Sequence[Call]], Gathered]
"""The inputs of one run over all calls' rows, in call order. Raises InvalidInput (or a numpy error) when any
row does not fit; the caller then gathers call by call to find whose. Runs in `strict_context()`, so that a number
too large for its datatype raises instead of becoming infinity."""


def strict_context() -> Context:
    """A context in which numpy raises on overflow. numpy keeps this per context, and entering one costs nothing where a
    callback runs in it anyway; `np.errstate` around every gather would cost more than the gather of a small batch."""
    context = copy_context()
    context.run(np.seterr, over="raise")
    return context


def gather_for(signature: Signature) -> Gather:
    """The gather of a signature: a matrix of features, a column per feature, or plain tensors."""
    if signature.layout == "matrix" or signature.plain_matrix:
        return _matrix(signature)
    if signature.layout == "columns":
        return _columns(signature)
    return _concatenate


def _tables(calls: Sequence[Call]) -> list[Row] | None:
    rows: list[Row] = []
    for call in calls:
        if call.table is None:
            return None
        rows += call.table
    return rows


def _matrix(signature: Signature) -> Gather:
    datatype = signature.inputs[0].datatype
    dtype, wide = NUMPY_OF[datatype], NUMPY_OF["FP64"]
    numbers, width = datatype in FLOATS, len(signature.columns)
    spread = _splitter(signature)

    def gather(calls: Sequence[Call]) -> Gathered:
        rows = _tables(calls)
        if rows is None:
            return _concatenate([spread(call) for call in calls])
        if not numbers:
            return (np.array(rows, dtype),), None
        try:
            cells = np.fromiter(chain.from_iterable(rows), wide).reshape(len(rows), width)
        except TypeError:  # a null, which is NaN
            cells = np.array(rows, wide)
        return (cells.astype(dtype),), cells

    return gather


def _columns(signature: Signature) -> Gather:
    dtypes = [NUMPY_OF[spec.datatype] for spec in signature.inputs]
    shapes = [(-1, 1) if len(spec.shape) == 2 else (-1,) for spec in signature.inputs]
    spread = _splitter(signature)

    def gather(calls: Sequence[Call]) -> Gathered:
        rows = _tables(calls)
        if rows is None:
            return _concatenate([spread(call) for call in calls])
        columns = zip(*rows, strict=True)
        each = zip(columns, dtypes, shapes, strict=True)
        return tuple(np.array(column, dtype).reshape(shape) for column, dtype, shape in each), None

    return gather


def _splitter(signature: Signature) -> Callable[[Call], Call]:
    """Gives a call that came as a table its tensors, so that it can share a run with calls that came as tensors."""
    matrix = signature.layout == "matrix" or signature.plain_matrix
    dtypes = [NUMPY_OF[spec.datatype] for spec in signature.inputs]
    shapes = [(-1, 1) if len(spec.shape) == 2 else (-1,) for spec in signature.inputs]

    def spread(call: Call) -> Call:
        if call.tensors is None:
            assert call.table is not None
            if matrix:
                call.tensors = (np.array(call.table, dtypes[0]),)
            else:
                columns = zip(*call.table, strict=True)
                call.tensors = tuple(np.array(c, d).reshape(s) for c, d, s in zip(columns, dtypes, shapes, strict=True))
        return call

    return spread


def _concatenate(calls: Sequence[Call]) -> Gathered:
    if len(calls) == 1:
        tensors = calls[0].tensors
        assert tensors is not None
        return tensors, None
    inputs = [call.tensors for call in calls]
    return tuple(np.concatenate(parts) for parts in zip(*inputs, strict=True)), None


def check_table(call: Call, signature: Signature) -> None:
    """Find the cell of a table that does not fit its column's datatype; raises InvalidInput that names it."""
    for r, row in enumerate(call.table or ()):
        for (name, datatype), cell in zip(signature.columns, row, strict=True):
            if cell is None and datatype not in FLOATS:
                raise InvalidInput(
                    "null where the model takes whole numbers",
                    where=(f"instances[{r}]" if call.rows > 1 else "features") + f".{name}",
                    found="null",
                    expected=datatype,
                )
            if isinstance(cell, (int, float)) and not _holds(cell, datatype):
                raise InvalidInput(
                    "value out of range",
                    where=(f"instances[{r}]" if call.rows > 1 else "features") + f".{name}",
                    found=repr(cell),
                    expected=f"a value that {datatype} can hold",
                )


def _holds(cell: float, datatype: str) -> bool:
    dtype = NUMPY_OF[datatype]
    if datatype in FLOATS:
        return not math.isfinite(cell) or abs(cell) <= float(np.finfo(dtype).max)
    if dtype.kind in "iu":
        bounds = np.iinfo(dtype)
        return bounds.min <= cell <= bounds.max
    return True
