"""Columns of numbers, times and vectors as bytes, all rows at once: what `codecs` does value by value."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from kaname.arrow import Array, arrow
from kaname.features.codecs import codec_of
from kaname.features.columnar import PURPOSE
from kaname.features.types import Attribute

Bytes: TypeAlias = npt.NDArray[np.uint8]
"""A row of bytes for each value."""


def width_of(attribute: Attribute) -> int | None:
    """Bytes of each value; None: any number."""
    return codec_of(attribute).width


def plain(column: Array, attribute: Attribute) -> Bytes | None:
    """The plain form; of nulls any bytes. None: the values have to be written one by one."""
    kind = attribute.type.name
    if kind == "vector":
        return _vector(column, attribute)
    if kind == "decimal":
        return _decimal(column, attribute)
    code = {"timestamp": "q", "date": "i"}.get(kind, codec_of(attribute).code)
    return _matrix(_numbers(column).astype(f">{_NUMPY[code]}"))


def ordered(column: Array, attribute: Attribute) -> Bytes | None:
    """The ordered form of values that are not null."""
    data = plain(column, attribute)
    if data is None or attribute.type.name == "bool":
        return data
    if attribute.type.name.startswith("float"):
        return _ordered_floats(_numbers(column), data)
    data[:, 0] ^= 0x80
    return data


_NUMPY = {"?": "u1", "i": "i4", "q": "i8", "f": "f4", "d": "f8"}


def _numbers(column: Array) -> npt.NDArray[Any]:
    """A column of numbers, times or truths; 0 for null."""
    pa = arrow(PURPOSE).pa
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    elif pa.types.is_date32(column.type):
        column = column.cast(pa.int32())
    elif pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    return np.asarray(column.fill_null(0).to_numpy(zero_copy_only=False))


def _matrix(values: npt.NDArray[Any]) -> Bytes:
    width = values.dtype.itemsize * (values.shape[1] if values.ndim > 1 else 1)
    return np.frombuffer(bytearray(values.tobytes()), np.uint8).reshape(len(values), width)


def _ordered_floats(values: npt.NDArray[Any], data: Bytes) -> Bytes | None:
    """None for NaN, which has no place in an order."""
    if np.isnan(values).any():
        return None
    data[values == 0] = 0  # one zero
    negative = data[:, 0] >= 0x80
    data[negative] ^= 0xFF
    data[~negative, 0] ^= 0x80
    return data


def _decimal(column: Array, attribute: Attribute) -> Bytes:
    """Arrow has them as integers of 16 bytes, little endian, of the same scale."""
    width = codec_of(attribute).width
    assert width is not None
    start = column.offset * 16
    raw = np.frombuffer(column.buffers()[1], np.uint8)[start : start + len(column) * 16].reshape(-1, 16)
    return np.ascontiguousarray(raw[:, :width][:, ::-1])


def _vector(column: Array, attribute: Attribute) -> Bytes | None:
    """None for nulls inside."""
    if column.flatten().null_count:
        return None
    length, code = attribute.type.length, _CODES[attribute.type.item]
    values = column.values.slice(column.offset * length, len(column) * length).fill_null(0)
    return _matrix(values.to_numpy(zero_copy_only=False).astype(f">{code}").reshape(-1, length))


_CODES = {"float32": "f4", "float64": "f8", "int32": "i4", "int64": "i8"}


def split(data: Bytes) -> list[bytes]:
    """Each row of bytes by itself."""
    found: list[bytes] = np.ascontiguousarray(data).view(f"V{data.shape[1]}").ravel().tolist()
    return found
