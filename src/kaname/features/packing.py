"""`pack[a, b, c]`: several attributes in the bytes of one cell, nulls included.

One byte says how many attributes there are, then come a bit per attribute that is null (the first attribute is the
lowest bit of the first byte), the attributes of fixed width, the lengths of the others (4 bytes each), and these.
A pack to which attributes were appended still reads what was written before: the new ones are null.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Sequence
from functools import cache
from typing import Any, TypeAlias

from kaname.features.codecs import Codec
from kaname.features.types import Row

MOST_PACKED = 255

Pack: TypeAlias = Callable[[Row], bytes]
Unpack: TypeAlias = Callable[[bytes, dict[str, object]], None]
"""Puts the values in the bytes into a row; raises ValueError or `struct.error` for bytes that `Pack` did not make."""


def pack_of(codecs: Sequence[Codec]) -> tuple[Pack, Unpack]:
    """The functions of a pack."""
    count, mask_bytes = len(codecs), (len(codecs) + 7) // 8
    wide = [(1 << i, c.attribute, c.item, c.empty) for i, c in enumerate(codecs) if c.code]
    long = [(1 << i, c.attribute, c.write) for i, c in enumerate(codecs) if not c.code]
    packer = _header(codecs)

    def pack(row: Row) -> bytes:
        get, nulls = row.get, 0
        items: list[object] = []
        tail = [b""]
        for bit, name, item, empty in wide:
            value = get(name)
            if value is None:
                nulls |= bit
                items.append(empty)
            else:
                items.append(item(value))
        for bit, name, write in long:
            value = get(name)
            data = b"" if value is None else write(value)
            nulls |= bit if value is None else 0
            items.append(len(data))
            tail.append(data)
        tail[0] = packer.pack(count, nulls.to_bytes(mask_bytes, "little"), *items)
        return b"".join(tail)

    return pack, _unpack_of(codecs)


def _header(codecs: Sequence[Codec]) -> struct.Struct:
    wide = "".join(codec.code for codec in codecs if codec.code)
    long = "I" * sum(not codec.code for codec in codecs)
    return struct.Struct(f">B{(len(codecs) + 7) // 8}s{wide}{long}")


def _unpack_of(codecs: Sequence[Codec]) -> Unpack:
    count, packer = len(codecs), _header(codecs)
    unpack_from, size, clear = packer.unpack_from, packer.size, bytes((count + 7) // 8)
    wide = [c.attribute for c in codecs if c.code]
    revived = [(c.attribute, c.revive) for c in codecs if c.code and c.revive is not None]
    long = [(c.attribute, c.read) for c in codecs if not c.code]
    names = [c.attribute for c in codecs]
    before = cache(lambda fewer: _unpack_of(codecs[:fewer]))

    def unpack(data: bytes, into: dict[str, object]) -> None:
        if data[:1] != _BYTES[count]:
            return _unpack_fewer(data, into)
        _, nulls, *items = unpack_from(data)
        into.update(zip(wide, items, strict=False))
        for name, revive in revived:
            into[name] = revive(into[name])
        if long:
            _unpack_long(data, items[len(wide) :], into)
        elif len(data) != size:
            raise ValueError(f"{len(data)} bytes where {size} are expected")
        if nulls != clear:
            into.update((name, None) for i, name in enumerate(names) if nulls[i >> 3] >> (i & 7) & 1)
        return None

    def _unpack_long(data: bytes, lengths: Sequence[Any], into: dict[str, object]) -> None:
        at = size
        for (name, read), length in zip(long, lengths, strict=True):
            end = at + length
            into[name] = read(data[at:end])
            at = end
        if at != len(data):
            raise ValueError(f"{len(data)} bytes where {at} are expected")

    def _unpack_fewer(data: bytes, into: dict[str, object]) -> None:
        if not data or data[0] > count:
            raise ValueError(f"a pack of {data[0] if data else 'no'} attributes where {count} are expected")
        before(data[0])(data, into)

    return unpack


def unpack_of_some(codecs: Sequence[Codec], names: Collection[str]) -> Unpack:
    """What reads only some attributes of a pack, which costs what these cost."""
    everything, count = _unpack_of(codecs), len(codecs)
    wide, long = [c for c in codecs if c.code], [c for c in codecs if not c.code]
    last = max((i for i, c in enumerate(long, 1) if c.attribute in names), default=0)
    fields = "".join(c.code if c.attribute in names else f"{struct.calcsize(f'>{c.code}')}x" for c in wide)
    packer = struct.Struct(f">B{(count + 7) // 8}s{fields}{'I' * last}")
    unpack_from, size, clear = packer.unpack_from, _header(codecs).size, bytes((count + 7) // 8)
    wanted = [c.attribute for c in wide if c.attribute in names]
    to_revive = [(c.attribute, c.revive) for c in wide if c.attribute in names and c.revive is not None]
    to_read = [(c.attribute, c.read if c.attribute in names else None) for c in long[:last]]
    marks = [(c.attribute, i >> 3, 1 << (i & 7)) for i, c in enumerate(codecs) if c.attribute in names]
    first, exact = len(wanted), not long

    def unpack(data: bytes, into: dict[str, object]) -> None:
        if data[:1] != _BYTES[count] or len(data) < size or (exact and len(data) != size):
            return everything(data, into)  # written before attributes were appended, or not a pack
        _, nulls, *items = unpack_from(data)
        into.update(zip(wanted, items, strict=False))
        for name, revive in to_revive:
            into[name] = revive(into[name])
        if to_read:
            _unpack_long(data, items[first:], into)
        if nulls != clear:
            into.update((name, None) for name, at, bit in marks if nulls[at] & bit)
        return None

    def _unpack_long(data: bytes, lengths: Sequence[Any], into: dict[str, object]) -> None:
        at = size
        for (name, read), length in zip(to_read, lengths, strict=True):
            if read is not None:
                into[name] = read(data[at : at + length])
            at += length
        if at > len(data):
            raise ValueError(f"{len(data)} bytes where {at} are expected")

    return unpack


_BYTES = [bytes([i]) for i in range(256)]
