"""Tensors on the wire: the datatypes of the Open Inference Protocol v2 and their numpy counterparts.

Source: https://github.com/kserve/open-inference-protocol, "Tensor Data Types". BYTES elements are numpy
`object` arrays of `bytes`; in binary form each element is a 4-byte little-endian length and that many bytes.
"""

from __future__ import annotations

import struct
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from kaname.errors import InvalidInput

Tensor = NDArray[Any]
"""One dense array; row-major, little-endian. BYTES tensors have dtype `object` and hold `bytes`."""

Datatype = Literal[
    "BOOL",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "FP16",
    "FP32",
    "FP64",
    "BYTES",
]

NUMPY_OF: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BYTES": np.dtype(object),
}

TENSORFLOW_OF: dict[str, str] = {
    "BOOL": "DT_BOOL",
    "UINT8": "DT_UINT8",
    "UINT16": "DT_UINT16",
    "UINT32": "DT_UINT32",
    "UINT64": "DT_UINT64",
    "INT8": "DT_INT8",
    "INT16": "DT_INT16",
    "INT32": "DT_INT32",
    "INT64": "DT_INT64",
    "FP16": "DT_HALF",
    "FP32": "DT_FLOAT",
    "FP64": "DT_DOUBLE",
    "BYTES": "DT_STRING",
}
"""TensorFlow's names of the datatypes."""

_DATATYPE_OF = {dtype: name for name, dtype in NUMPY_OF.items()}

FLOATS = frozenset({"FP16", "FP32", "FP64"})


class TensorSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Name, datatype and shape of one input or output; -1 in `shape` is a size that varies.

    The first dimension is the batch (rows) unless the signature says that the model has none.
    """

    name: str
    datatype: Datatype
    shape: tuple[int, ...]


def datatype_of(dtype: np.dtype[Any]) -> Datatype:
    """The protocol's name of a numpy dtype; string dtypes are BYTES. Raises InvalidInput for the rest."""
    if dtype.kind in "SU":
        return "BYTES"
    name = _DATATYPE_OF.get(dtype.newbyteorder("=") if dtype.byteorder == ">" else dtype)
    if name is None:
        raise InvalidInput("no such datatype in the protocol", found=str(dtype), expected=", ".join(NUMPY_OF))
    return name  # type: ignore[return-value]  # the keys of NUMPY_OF are the members of Datatype


def decode_binary(raw: bytes | memoryview, datatype: str, shape: tuple[int, ...], where: str) -> Tensor:
    """The tensor held by `raw` (binary tensor data extension); a view, not a copy, except for BYTES.

    Raises InvalidInput when the size does not fit `shape`, or BYTES lengths run past the end.
    """
    count = 1
    for size in shape:
        count *= size
    if datatype == "BYTES":
        elements = _split_bytes(raw, count, where)
        out = np.empty(count, dtype=object)
        out[:] = elements
        return out.reshape(shape)
    dtype = NUMPY_OF[datatype]
    if len(raw) != count * dtype.itemsize:
        raise InvalidInput(
            f"binary size does not fit {datatype}{list(shape)}",
            where=where,
            found=f"{len(raw)} bytes",
            expected=f"{count * dtype.itemsize} bytes",
        )
    return np.frombuffer(raw, dtype=dtype).reshape(shape)


def viewed(raw: memoryview, datatype: str, shape: tuple[int, ...], where: str) -> Tensor:
    """The tensor in what somebody sent: a view of it where its alignment permits. Raises InvalidInput."""
    tensor = decode_binary(raw, datatype, shape, where)
    if datatype == "BOOL":
        bytes_ = tensor.view(np.uint8)
        if bytes_.size and int(bytes_.max()) > 1:
            at = int(np.argmax(bytes_.reshape(-1) > 1))
            found = f"byte {int(bytes_.reshape(-1)[at])} at {at}"
            raise InvalidInput("not a BOOL", where=where, found=found, expected="bytes of 0 or 1")
    return tensor if tensor.flags.aligned else tensor.copy()


def _split_bytes(raw: bytes | memoryview, count: int, where: str) -> list[bytes]:
    view = memoryview(raw)
    found: list[bytes] = []
    at, end = 0, len(view)
    while at < end:
        if at + 4 > end:
            raise InvalidInput(
                "BYTES data ends inside a length", where=where, found=f"{end - at} bytes", expected="4 bytes"
            )
        (size,) = struct.unpack_from("<I", view, at)
        at += 4
        if at + size > end:
            raise InvalidInput(
                "BYTES element runs past the end",
                where=where,
                found=f"{end - at} bytes",
                expected=f"{size} bytes",
            )
        found.append(bytes(view[at : at + size]))
        at += size
    if len(found) != count:
        raise InvalidInput(
            "number of BYTES elements does not fit the shape",
            where=where,
            found=str(len(found)),
            expected=str(count),
        )
    return found


def encode_binary(tensor: Tensor) -> bytes:
    """The binary form of `tensor`: little-endian, row-major; BYTES elements length-prefixed."""
    return bytes(binary_view(tensor))


def binary_view(tensor: Tensor) -> bytes | memoryview:
    """`encode_binary` without a copy where the tensor's own memory has that form."""
    if tensor.dtype.kind not in "OSU":
        plain = np.ascontiguousarray(tensor, dtype=tensor.dtype.newbyteorder("<"))
        return plain.reshape(-1).view(np.uint8).data
    parts: list[bytes] = []
    for element in tensor.ravel().tolist():
        raw = element if isinstance(element, bytes) else str(element).encode()
        parts.append(struct.pack("<I", len(raw)))
        parts.append(raw)
    return b"".join(parts)


def fits(shape: tuple[int, ...], spec: tuple[int, ...]) -> bool:
    """Whether a concrete `shape` satisfies `spec`, in which -1 admits any size."""
    return len(shape) == len(spec) and all(want in (-1, size) for size, want in zip(shape, spec, strict=True))
