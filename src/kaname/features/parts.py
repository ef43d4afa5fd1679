"""Parts joined by colons: `size{user_id}:desc{placed_at}` as functions between a row and bytes.

In a row key numbers and times take their ordered form and a size two bytes; in a value the plain form, and four.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

import msgspec
from blake3 import blake3

from kaname.errors import InvalidInput
from kaname.features.codecs import Codec, codec_of
from kaname.features.declared import Part
from kaname.features.refusing import refused
from kaname.features.types import Attribute, Row

Form: TypeAlias = Literal["key", "value"]
Write: TypeAlias = Callable[[object], bytes]
Take: TypeAlias = Callable[[bytes, int], tuple[object, int]]
"""The value that starts at a position, and where the next part starts; raises ValueError."""

_INVERTED = bytes(255 - byte for byte in range(256))
_SIZE_BYTES: dict[Form, int] = {"key": 2, "value": 4}
_TEXT = ("string", "bytes")


class CompiledPart(msgspec.Struct, frozen=True):
    """One part, and what a planner may know of it."""

    attribute: str | None
    """None: a hash, from which nothing comes back."""
    hashed: tuple[str, ...]
    """The attributes of a hash."""
    ordered: bool
    """Byte order is value order (with `desc`: the opposite), behind equal bytes."""
    desc: bool
    bounded: bool
    """No value's bytes begin another's: something may follow."""
    prefixed: bool
    """Values that begin alike have bytes that begin alike, so a prefix is a range."""
    take: Take
    write: Write
    """A value as its bytes; of a hash: its attributes, as a sequence."""
    says: Part
    """As it was declared."""
    begin: Write
    """The bytes with which those of all values that begin like this one begin (only where `prefixed`)."""
    hash_bytes: int = 0
    """How many bytes a hash has."""


def compile_part(part: Part, attributes: Mapping[str, Attribute], form: Form) -> CompiledPart:
    """The functions of a part whose names are known to exist."""
    if part.kind == "hash":
        return _hash(part, [codec_of(attributes[word.text]) for word in part.names])
    attribute = attributes[part.name]
    codec = codec_of(attribute)
    write, take = _functions(part, codec, form)
    text = attribute.type.name in _TEXT
    compiled = CompiledPart(
        attribute=part.name,
        hashed=(),
        ordered=keeps_order(part, attribute) and (form == "key" or text),
        desc=part.desc,
        bounded=is_bounded(part, attribute),
        prefixed=text and part.kind != "size",
        take=take,
        write=write,
        says=part,
        begin=codec.write,
    )
    return _inverted(compiled) if part.desc else compiled


def is_bounded(part: Part, attribute: Attribute) -> bool:
    """Whether another part may follow: where the value ends can be told from its bytes."""
    return part.kind != "plain" or has_width(attribute)


def has_width(attribute: Attribute) -> bool:
    """Whether all values of the attribute take the same number of bytes."""
    return attribute.type.name not in (*_TEXT, "json")


def keeps_order(part: Part, attribute: Attribute) -> bool:
    """Whether the bytes of a key part sort like its values: a separator must sort before all that it may end."""
    if has_width(attribute):
        return True
    return part.kind in ("plain", "fixed") or (part.kind == "suffix" and part.separator == b"\0")


def write_parts(parts: Sequence[CompiledPart], row: Row) -> bytes:
    """The bytes of a row. Raises InvalidInput with the attribute as `where`."""
    return b"".join(
        [
            part.write(row[part.attribute] if part.attribute is not None else [row[name] for name in part.hashed])
            for part in parts
        ]
    )


def take_parts(parts: Sequence[CompiledPart], data: bytes, into: dict[str, object], *, whole: bool = True) -> None:
    """Put the values in `data` into a row. Raises ValueError when there are fewer bytes, or more where these parts are
    the `whole`."""
    at = 0
    for part in parts:
        value, at = part.take(data, at)
        if part.attribute is not None:
            into[part.attribute] = value
    if at != len(data) if whole else at > len(data):
        raise ValueError(f"{len(data)} bytes where {at} are expected")


def _functions(part: Part, codec: Codec, form: Form) -> tuple[Write, Take]:
    write, read = (codec.write_key, codec.read_key) if form == "key" else (codec.write, codec.read)
    if part.kind == "size":
        return _size(codec.attribute, write, read, _SIZE_BYTES[form])
    if part.kind == "suffix":
        return _suffix(codec.attribute, write, read, part.separator)
    if part.kind == "fixed":
        return _fixed(codec, part.number)
    if codec.width is not None:
        return write, _wide(read, codec.width)
    return write, lambda data, at: (read(data[at:]), len(data))


def _wide(read: Callable[[bytes], object], width: int) -> Take:
    def take(data: bytes, at: int) -> tuple[object, int]:
        end = at + width
        return read(data[at:end]), end

    return take


def _size(name: str, write: Write, read: Callable[[bytes], object], width: int) -> tuple[Write, Take]:
    """The length in front, as `width` bytes."""
    most, number = (1 << (8 * width)) - 1, int.from_bytes

    def sized(value: object) -> bytes:
        data = write(value)
        if len(data) > most:
            raise refused(name, f"{len(data)} bytes", f"at most {most} bytes, which `size` can count", "too long")
        return len(data).to_bytes(width, "big") + data

    def take(data: bytes, at: int) -> tuple[object, int]:
        start = at + width
        end = start + number(data[at:start], "big")
        if end > len(data):
            raise ValueError(f"{len(data)} bytes where {end} are expected")
        return read(data[start:end]), end

    return sized, take


def _suffix(name: str, write: Write, read: Callable[[bytes], object], separator: bytes) -> tuple[Write, Take]:
    """Ended by a separator, which is the first in what was written."""

    def ended(value: object) -> bytes:
        data = write(value)
        whole = data + separator
        if whole.find(separator) != len(data):
            raise refused(
                name, value, f"a value without {separator!r}", f"the value holds {separator!r}, which ends it"
            )
        return whole

    def take(data: bytes, at: int) -> tuple[object, int]:
        end = data.index(separator, at)
        return read(data[at:end]), end + len(separator)

    return ended, take


def _fixed(codec: Codec, width: int) -> tuple[Write, Take]:
    """Exactly so many bytes: text is filled up with zero bytes, which come off again; bytes must fit."""
    name, padded = codec.attribute, codec.revive is not None

    def filled(value: object) -> bytes:
        data = codec.write(value)
        if len(data) == width if not padded else len(data) <= width and not data.endswith(b"\0"):
            return data.ljust(width, b"\0")
        limit = f"at most {width} bytes of UTF-8, the last not zero" if padded else f"exactly {width} bytes"
        raise refused(name, value, limit, f"the value does not fit fixed({width})")

    def take(data: bytes, at: int) -> tuple[object, int]:
        end = at + width
        if end > len(data):
            raise ValueError(f"{len(data)} bytes where {end} are expected")
        piece = data[at:end]
        return codec.read(piece.rstrip(b"\0") if padded else piece), end

    return filled, take


def _hash(part: Part, codecs: Sequence[Codec]) -> CompiledPart:
    """The first bytes of the BLAKE3 hash of some attributes, each behind its length (4 bytes)."""
    width, writers = part.number, [codec.write_key for codec in codecs]

    def write(values: object) -> bytes:
        assert isinstance(values, list)
        found = b""
        for write_key, value in zip(writers, values, strict=True):
            data = write_key(value)
            found += len(data).to_bytes(4, "big") + data
        return blake3(found).digest(length=width)

    return CompiledPart(
        attribute=None,
        hashed=tuple(word.text for word in part.names),
        ordered=False,
        desc=False,
        bounded=True,
        prefixed=False,
        take=lambda _, at: (None, at + width),
        write=write,
        says=part,
        begin=_no_begin,
        hash_bytes=width,
    )


def _no_begin(value: object) -> bytes:
    raise InvalidInput("a hash has no prefixes", found=repr(value))


def _inverted(part: CompiledPart) -> CompiledPart:
    """Every byte turned round, which turns the order round."""
    write, take, begin = part.write, part.take, part.begin

    def taken(data: bytes, at: int) -> tuple[object, int]:
        value, used = take(data[at:].translate(_INVERTED), 0)
        return value, at + used

    return msgspec.structs.replace(
        part,
        write=lambda value: write(value).translate(_INVERTED),
        begin=lambda value: begin(value).translate(_INVERTED),
        take=taken,
    )
