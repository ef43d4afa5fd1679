"""How one value becomes bytes: a form for keys, whose byte order is value order, and a plain form for values."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import msgspec

from kaname.features.items import Item, item_of
from kaname.features.refusing import refused
from kaname.features.types import Attribute

UNREADABLE = (ValueError, struct.error, IndexError, OverflowError, msgspec.DecodeError)
"""What reading bytes raises that no codec wrote."""


class Codec(msgspec.Struct, frozen=True):
    """How the values of one attribute are written.

    What writes raises InvalidInput with the attribute as `where`; what reads raises ValueError, or what `struct` and
    the types raise, for bytes that it did not write.
    """

    attribute: str
    code: str
    """The `struct` code of the plain form, big endian; empty: any number of bytes."""
    width: int | None
    """Bytes of either form; None: any number."""
    item: Callable[[object], Item]
    """A value, checked, as `struct` packs it."""
    revive: Callable[[Any], object] | None
    """The value of what `struct` unpacked (what that is says `code`); None: it is the value."""
    write: Callable[[object], bytes]
    read: Callable[[bytes], object]
    """The plain form."""
    write_key: Callable[[object], bytes]
    read_key: Callable[[bytes], object]
    """The ordered form."""

    @property
    def empty(self) -> Item:
        """What stands for null where its place is taken anyway."""
        return b"" if self.code in ("", f"{self.width}s") else 0


def codec_of(attribute: Attribute) -> Codec:
    """The codec of an attribute, compiled."""
    name, of = attribute.name, attribute.type
    code, item, revive = item_of(name, of)
    if not code:
        back = revive or bytes
        return Codec(name, "", None, item, revive, item, back, item, back)  # type: ignore[arg-type]  # items are bytes
    packer = struct.Struct(f">{code}")
    write, read = _plain(packer, item, revive)
    shift, unshift = _ordered(code, packer)
    item_in_key = _number_in_key(name, item) if of.name.startswith("float") else item

    def write_key(value: object) -> bytes:
        return shift(item_in_key(value))

    def read_key(data: bytes) -> object:
        found = unshift(data)
        return found if revive is None else revive(found)

    return Codec(name, code, packer.size, item, revive, write, read, write_key, read_key)


def _plain(
    packer: struct.Struct, item: Callable[[object], Item], revive: Callable[[Any], object] | None
) -> tuple[Callable[[object], bytes], Callable[[bytes], object]]:
    pack, unpack = packer.pack, packer.unpack

    def write(value: object) -> bytes:
        return pack(item(value))

    def read(data: bytes) -> object:
        (found,) = unpack(data)
        return found if revive is None else revive(found)

    return write, read


def _ordered(code: str, packer: struct.Struct) -> tuple[Callable[[Any], bytes], Callable[[bytes], Item]]:
    """From an item to bytes that sort like it, and back."""
    if code == "?":
        return packer.pack, lambda data: bool(packer.unpack(data)[0])
    width = packer.size
    top = 1 << (8 * width - 1)
    if code in "fd":
        return _ordered_float(packer, width, top)
    if code in "iq":
        unsigned = struct.Struct(f">{code.upper()}")
        return lambda item: unsigned.pack(item + top), lambda data: int(unsigned.unpack(data)[0]) - top
    return (
        lambda item: bytes([item[0] ^ 0x80]) + item[1:],
        lambda data: bytes([data[0] ^ 0x80]) + data[1:],
    )


def _ordered_float(
    packer: struct.Struct, width: int, top: int
) -> tuple[Callable[[Any], bytes], Callable[[bytes], Item]]:
    """IEEE 754 sorts as bytes when the sign of positive numbers, and all bits of negative ones, are turned round."""
    full, make = 2 * top - 1, int.from_bytes

    def shift(item: float) -> bytes:
        bits = make(packer.pack(item), "big")
        return (bits ^ (full if bits & top else top)).to_bytes(width, "big")

    def unshift(data: bytes) -> Item:
        if len(data) != width:
            raise ValueError(f"{len(data)} bytes, not {width}")
        bits = make(data, "big")
        return float(packer.unpack((bits ^ (top if bits & top else full)).to_bytes(width, "big"))[0])

    return shift, unshift


def _number_in_key(name: str, item: Callable[[object], Item]) -> Callable[[object], Item]:
    """No NaN, which is not even equal to itself; one zero."""

    def checked(value: object) -> Item:
        found = item(value)
        if found != found:
            raise refused(name, value, "a number; NaN has no place in an order", "not a value of a key")
        return found or 0.0

    return checked
