"""Answers as bytes that nodes exchange: versioned and checksummed; whatever else is found is no answer."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from blake3 import blake3

from kaname.errors import KanameError
from kaname.signature import Signature
from kaname.tensors import Tensor, datatype_of, decode_binary, encode_binary, fits

MAGIC = b"kaname.answer.1\n"
"""Another form gets another number: nodes of both releases then see each other's answers as none."""
CHECK_BYTES = 16


class _Part(NamedTuple):
    datatype: str
    shape: tuple[int, ...]
    data: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[str, list[_Part]]).decode


def written(key: str, tensors: tuple[Tensor, ...]) -> bytes:
    """The answer under `key`."""
    parts = [
        _Part(datatype_of(t.dtype) if t.dtype.kind != "O" else "BYTES", t.shape, encode_binary(t)) for t in tensors
    ]
    body = _encode((key, parts))
    return MAGIC + blake3(body).digest()[:CHECK_BYTES] + body


def read(key: str, signature: Signature, data: bytes) -> tuple[Tensor, ...] | None:
    """The answer that `written` made for this key; None for another's, and for what is damaged or does not fit."""
    start = len(MAGIC) + CHECK_BYTES
    if data[: len(MAGIC)] != MAGIC or blake3(data[start:]).digest()[:CHECK_BYTES] != data[len(MAGIC) : start]:
        return None
    try:
        named, parts = _decode(data[start:])
        tensors = tuple(decode_binary(part.data, part.datatype, part.shape, "cache") for part in parts)
    except (msgspec.MsgspecError, KanameError, ValueError, KeyError):
        return None
    declared = [(spec.datatype, spec.shape) for spec in signature.outputs]
    if named != key or [part.datatype for part in parts] != [datatype for datatype, _ in declared]:
        return None
    return tensors if all(fits(t.shape, shape) for t, (_, shape) in zip(tensors, declared, strict=True)) else None
