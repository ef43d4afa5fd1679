"""Tensor data given as JSON: flat or nested lists, checked element by element on the way in."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import chain
from typing import Annotated, Any

import msgspec
import numpy as np

from kaname.errors import InvalidInput
from kaname.serving.json_input import explain
from kaname.serving.oip.asked import within
from kaname.tensors import NUMPY_OF, Tensor

_OPENING = re.compile(rb"[\s\[]*")
_MOST = {"FP16": float(np.finfo(np.float16).max), "FP32": float(np.finfo(np.float32).max)}
_BITS = {"INT8": 8, "INT16": 16, "INT32": 32, "UINT8": 8, "UINT16": 16, "UINT32": 32}


def element_type(datatype: str, nullable: bool) -> Any:
    """What JSON must hold for one element of `datatype`."""
    kind: Any
    if datatype in _BITS:
        bits = _BITS[datatype]
        low, high = (0, 2**bits - 1) if datatype.startswith("U") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        kind = Annotated[int, msgspec.Meta(ge=low, le=high)]
    elif datatype == "BYTES":
        kind = str
    elif datatype == "BOOL":
        kind = bool
    else:
        kind = float if datatype.startswith("FP") else int
    return kind | None if nullable else kind


@lru_cache(maxsize=256)
def _decoder(datatype: str, nullable: bool, depth: int) -> Callable[[Any], Any]:
    kind = element_type(datatype, nullable)
    for _ in range(depth):
        kind = list[kind]  # type: ignore[valid-type]  # built at run time
    return msgspec.json.Decoder(kind).decode


def flat_values(raw: msgspec.Raw, datatype: str, nullable: bool, shape: Sequence[int], where: str) -> list[Any]:
    """The elements in row-major order. `raw` may be flat, or nested as `shape` says. Raises InvalidInput."""
    opening = _OPENING.match(memoryview(raw))
    depth = max(1, 0 if opening is None else opening.group().count(b"["))
    if depth not in (1, len(shape)):
        expected = f"a flat list, or {len(shape)} levels" if len(shape) > 1 else "a flat list"
        raise InvalidInput("nested lists do not fit the shape", where=where, found=f"{depth} levels", expected=expected)
    try:
        values: list[Any] = _decoder(datatype, nullable, depth)(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise within(explain(error), where) from None
    if depth > 1:
        return _flattened(values, shape, where)
    count = product(shape)
    if len(values) != count:
        raise InvalidInput(
            "number of elements does not fit the shape",
            where=where,
            found=f"{len(values)} elements",
            expected=f"{count} for shape {shown(shape)}",
        )
    return values


def _flattened(values: list[Any], shape: Sequence[int], where: str) -> list[Any]:
    _check_length(values, shape[0], where)
    for level in range(1, len(shape)):
        size = shape[level]
        for i, part in enumerate(values):
            if len(part) != size:
                _check_length(part, size, where + _position(i, shape[:level]))
        values = list(chain.from_iterable(values))
    return values


def _check_length(values: list[Any], size: int, where: str) -> None:
    if len(values) != size:
        raise InvalidInput(
            "list does not fit the shape", where=where, found=f"{len(values)} elements", expected=str(size)
        )


def _position(flat: int, shape: Sequence[int]) -> str:
    return "".join(f"[{i}]" for i in np.unravel_index(flat, tuple(shape)))


def product(shape: Sequence[int]) -> int:
    """Number of elements."""
    count = 1
    for size in shape:
        count *= size
    return count


def shown(shape: Sequence[int]) -> str:
    """A shape for people: `[any, 4]`."""
    return "[" + ", ".join("any" if size == -1 else str(size) for size in shape) + "]"


def tensor_of(values: list[Any], datatype: str, shape: Sequence[int], where: str) -> Tensor:
    """Flat values as a tensor. Raises InvalidInput for a number that the datatype cannot hold."""
    dtype = NUMPY_OF[datatype]
    if datatype == "BYTES":
        tensor = np.empty(len(values), dtype=object)
        tensor[:] = [b"" if value is None else value.encode() for value in values]
        return tensor.reshape(tuple(shape))
    try:
        if _in_bounds(values, datatype):
            return np.array(values, dtype).reshape(tuple(shape))
        with np.errstate(over="raise"):
            return np.array(values, dtype).reshape(tuple(shape))
    except (OverflowError, FloatingPointError):
        i = next(i for i, value in enumerate(values) if not _holds(value, dtype))
        raise InvalidInput(
            "value out of range", where=f"{where}[{i}]", found=repr(values[i]), expected=f"what {datatype} can hold"
        ) from None


def _in_bounds(values: list[Any], datatype: str) -> bool:
    """Whether no float can overflow: much cheaper to find out than to have numpy watch (integers it always checks)."""
    most = _MOST.get(datatype)
    if most is None or not values:
        return True
    numbers = [value for value in values if value is not None] if None in values else values
    return not numbers or (max(numbers) <= most and min(numbers) >= -most)


def _holds(value: Any, dtype: np.dtype[Any]) -> bool:
    try:
        with np.errstate(over="raise"):
            np.array([value], dtype)
    except (OverflowError, FloatingPointError):
        return False
    return True
