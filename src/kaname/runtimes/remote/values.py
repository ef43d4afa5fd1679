"""Tensors as JSON, both ways, and answers that are not what they should be."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from kaname.errors import InvalidInput, RemoteFailed
from kaname.runtimes.remote.types import Tensors
from kaname.tensors import NUMPY_OF, Tensor, decode_binary


def unlike(message: str, found: str | None = None, expected: str | None = None) -> RemoteFailed:
    """The failure of a server that answers otherwise than its protocol, or the signature, says."""
    return RemoteFailed(message, found=found, expected=expected)


def nested(tensor: Tensor) -> Any:
    """The elements in lists, as many deep as the tensor has dimensions; BYTES as text."""
    return _each(tensor.tolist(), _text) if tensor.dtype == object else tensor.tolist()


def nested_base64(tensor: Tensor) -> Any:
    """The same with BYTES as `{"b64": …}`, which holds every sequence of bytes."""
    return _each(tensor.tolist(), _base64) if tensor.dtype == object else tensor.tolist()


def _each(value: Any, one: Any) -> Any:
    return [_each(inner, one) for inner in value] if isinstance(value, list) else one(value)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _base64(value: Any) -> dict[str, str]:
    raw = value if isinstance(value, bytes) else str(value).encode()
    return {"b64": base64.b64encode(raw).decode()}


def tensor_of(data: Any, datatype: str, shape: Sequence[int] | None, name: str) -> Tensor:
    """The tensor that lists of elements are; `shape`: where it is given beside them. Raises RemoteFailed."""
    if datatype not in NUMPY_OF:
        raise unlike(f"output {name} has a datatype that is not known", datatype, ", ".join(NUMPY_OF))
    try:
        found = _texts(data) if datatype == "BYTES" else np.array(_numbers(data), NUMPY_OF[datatype])
        return found if shape is None else found.reshape(tuple(shape))
    except (ValueError, TypeError, OverflowError) as error:
        raise unlike(f"output {name} is not the tensor that it should be: {error}", expected=datatype) from error


def _numbers(data: Any) -> Any:
    if data is None:
        raise ValueError("no elements")
    return data


def _texts(data: Any) -> Tensor:
    shape: list[int] = []
    inner = data
    while isinstance(inner, list):
        shape.append(len(inner))
        inner = inner[0] if inner else None
    flat: list[Any] = data if shape else [data]
    for _ in shape[1:]:
        flat = [one for part in flat for one in part]
    found = np.empty(len(flat), dtype=object)
    found[:] = [_bytes(one) for one in flat]
    return found.reshape(shape)


def _bytes(value: Any) -> bytes:
    if isinstance(value, dict) and isinstance(value.get("b64"), str):
        return base64.b64decode(value["b64"])
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    raise TypeError(f"found {type(value).__name__}, expected text")


def decoded(body: bytes | memoryview) -> Any:
    """The JSON in a body, in which numbers may be NaN and Infinity, as TensorFlow Serving writes them.

    Raises RemoteFailed.
    """
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        try:
            return json.loads(bytes(body))
        except (ValueError, RecursionError) as error:
            raise unlike(f"the answer is not JSON: {error}") from error


def in_order(tensors: dict[str, Tensor], names: list[str]) -> Tensors:
    """The outputs in the order of the signature. Raises RemoteFailed where one is missing."""
    missing = [name for name in names if name not in tensors]
    if missing:
        raise unlike("the answer lacks an output", ", ".join(tensors) or "none", missing[0])
    return tuple(tensors[name] for name in names)


def from_binary(piece: bytes | memoryview, datatype: str, shape: tuple[int, ...], name: str) -> Tensor:
    """An output in binary. Raises RemoteFailed."""
    if datatype not in NUMPY_OF:
        raise unlike(f"output {name} has a datatype that is not known", datatype, ", ".join(NUMPY_OF))
    try:
        return decode_binary(piece, datatype, shape, name).copy()
    except InvalidInput as error:
        raise unlike(f"output {name}: {error.message}", error.found, error.expected) from error
