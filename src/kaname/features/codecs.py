"""How one value becomes bytes: a form for keys, whose byte order is value order, and a plain form for values."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal
from typing import Any, TypeAlias

import msgspec
import numpy as np

from kaname.errors import InvalidInput
from kaname.features.types import Attribute, Type

Item: TypeAlias = int | float | bytes | bool
"""What `struct` packs for a value; bytes where it has no fixed width."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = _EPOCH.toordinal()
_DAY_US, _SECOND_US = 86_400_000_000, 1_000_000
_FLOAT32_MAX = 3.4028235677973362e38
"""What is nearer to zero than this rounds to a number of float32."""
_EXACT = Context(prec=80)
_DECIMAL_CODES = ((9, "i"), (18, "q"), (38, "16s"))
_VECTOR_CODES = {"float32": "f", "float64": "d", "int32": "i", "int64": "q"}
_LONE_SURROGATE = "text that UTF-8 can hold, without half of a surrogate pair"

SCALARS = ("string", "bytes", "bool", "int32", "int64", "float32", "float64", "timestamp", "date", "json")
"""The types without arguments."""
NUMBERS = tuple(_VECTOR_CODES)
"""What a vector may be made of."""
NOT_IN_KEYS = ("json", "vector")
"""Types without an order."""


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
    code, item, revive = _item_of(name, of)
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


def _item_of(name: str, of: Type) -> tuple[str, Callable[[object], Item], Callable[[Any], object] | None]:
    """The `struct` code of a type, how a value becomes an item, and how that becomes a value again."""
    match of.name:
        case "string":
            return "", _string(name), bytes.decode
        case "bytes":
            return "", _bytes(name), None
        case "json":
            return "", _json(name), lambda data: msgspec.json.decode(data) if data else None
        case "bool":
            return "?", _bool(name), None
        case "int32":
            return "i", _whole(name, 32), None
        case "int64":
            return "q", _whole(name, 64), None
        case "float32":
            return "f", _float32(name), None
        case "float64":
            return "d", _float(name, "float64"), None
        case "timestamp":
            return "q", _timestamp(name), lambda item: _EPOCH + timedelta(0, 0, item)
        case "date":
            return "i", _date(name), lambda item: date.fromordinal(item + _EPOCH_DAY)
        case "decimal":
            return _decimal(name, of)
    return _vector(name, of)


def refused(name: str, value: object, expected: str, message: str = "not a value of this attribute") -> InvalidInput:
    """The error for a value of attribute `name` that cannot be written."""
    return InvalidInput(message, where=name, found=shown(value), expected=expected)


def shown(value: object) -> str:
    """A short form of a value for an error."""
    text = "null" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _bool(name: str) -> Callable[[object], Item]:
    def item(value: object) -> Item:
        if isinstance(value, bool):
            return value
        if isinstance(value, np.bool):
            return bool(value)
        raise refused(name, value, "true or false")

    return item


def _whole(name: str, bits: int) -> Callable[[object], Item]:
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    expected = f"a whole number from {low} to {high}"

    def item(value: object) -> Item:
        if type(value) is int and low <= value <= high:
            return value
        if isinstance(value, np.generic):
            return item(value.item())
        raise refused(name, value, expected)

    return item


def _float(name: str, kind: str) -> Callable[[object], Item]:
    def item(value: object) -> Item:
        if type(value) is float:
            return value
        if isinstance(value, np.generic):
            return item(value.item())
        if type(value) is int and abs(value) <= 1 << 53:
            return float(value)
        raise refused(name, value, f"a number that {kind} can hold")

    return item


def _float32(name: str) -> Callable[[object], Item]:
    number = _float(name, "float32")

    def item(value: object) -> Item:
        found = number(value)
        if -_FLOAT32_MAX < found < _FLOAT32_MAX or found != found or found in (np.inf, -np.inf):  # type: ignore[operator]  # a float
            return found
        raise refused(name, value, "a number that float32 can hold")

    return item


def _number_in_key(name: str, item: Callable[[object], Item]) -> Callable[[object], Item]:
    """No NaN, which is not even equal to itself; one zero."""

    def checked(value: object) -> Item:
        found = item(value)
        if found != found:
            raise refused(name, value, "a number; NaN has no place in an order", "not a value of a key")
        return found or 0.0

    return checked


def _string(name: str) -> Callable[[object], bytes]:
    def item(value: object) -> bytes:
        if not isinstance(value, str):
            raise refused(name, value, "text")
        try:
            return value.encode()
        except UnicodeEncodeError:
            raise refused(name, value, _LONE_SURROGATE) from None

    return item


def _bytes(name: str) -> Callable[[object], bytes]:
    def item(value: object) -> bytes:
        if not isinstance(value, bytes | bytearray | memoryview):
            raise refused(name, value, "bytes")
        return bytes(value)

    return item


def _timestamp(name: str) -> Callable[[object], Item]:
    def item(value: object) -> Item:
        if isinstance(value, datetime) and value.tzinfo is not None:
            since = value - _EPOCH
            return since.days * _DAY_US + since.seconds * _SECOND_US + since.microseconds
        raise refused(name, value, "a datetime with a time zone")

    return item


def _date(name: str) -> Callable[[object], Item]:
    def item(value: object) -> Item:
        if type(value) is not date:
            raise refused(name, value, "a date")
        return value.toordinal() - _EPOCH_DAY

    return item


def _decimal(name: str, of: Type) -> tuple[str, Callable[[object], Item], Callable[[Any], object]]:
    """An integer, the number without its point: of 4, 8 or 16 bytes."""
    code = next(code for digits, code in _DECIMAL_CODES if of.precision <= digits)
    limit, scale, wide = Decimal(10) ** (of.precision - of.scale), of.scale, code == "16s"
    expected = f"a Decimal of at most {of.precision - of.scale} digits before and {scale} behind the point"

    def item(value: object) -> Item:
        if type(value) is int:
            value = Decimal(value)
        if not isinstance(value, Decimal) or not value.is_finite() or not -limit < value < limit:
            raise refused(name, value, expected)
        scaled = value.scaleb(scale, _EXACT)
        whole = int(scaled)
        if whole != scaled:
            raise refused(name, value, expected)
        return whole.to_bytes(16, "big", signed=True) if wide else whole

    def revive(found: int | bytes) -> Decimal:
        whole = found if isinstance(found, int) else int.from_bytes(found, "big", signed=True)
        return Decimal(whole).scaleb(-scale, _EXACT)

    return code, item, revive


def _vector(name: str, of: Type) -> tuple[str, Callable[[object], Item], Callable[[Any], object]]:
    packer = struct.Struct(f">{of.length}{_VECTOR_CODES[of.item]}")
    expected = f"{of.length} numbers that {of.item} can hold"

    def item(value: object) -> Item:
        if isinstance(value, np.ndarray) and value.ndim == 1:
            value = value.tolist()
        if not isinstance(value, list | tuple):
            raise refused(name, value, expected)
        try:
            return packer.pack(*value)
        except (struct.error, OverflowError):
            raise refused(name, value, expected) from None

    return f"{packer.size}s", item, packer.unpack


def _json(name: str) -> Callable[[object], bytes]:
    def item(value: object) -> bytes:
        try:
            _check_json(name, value)
            return msgspec.json.encode(value)
        except RecursionError:
            raise refused(name, "…", "JSON that is not nested so deeply") from None

    return item


_SURROGATE = re.compile("[\ud800-\udfff]")
_JSON_EXPECTED = "what JSON can hold: objects with text as keys, lists, text, finite numbers, true, false, null"


def _check_json(name: str, value: object) -> None:
    """Only what comes back from JSON as it was."""
    kind = type(value)
    if kind is dict:
        assert isinstance(value, dict)
        for key, inner in value.items():
            if type(key) is not str:
                raise refused(name, key, _JSON_EXPECTED)
            _check_json(name, key)
            _check_json(name, inner)
    elif kind is list:
        assert isinstance(value, list)
        for inner in value:
            _check_json(name, inner)
    elif isinstance(value, str) and kind is str:
        if _SURROGATE.search(value):
            raise refused(name, value, _LONE_SURROGATE)
    elif isinstance(value, int) and kind is int:
        if not -(1 << 63) <= value < 1 << 63:
            raise refused(name, value, "a whole number of 64 bits")
    elif isinstance(value, float) and kind is float:
        if value - value != 0:
            raise refused(name, value, _JSON_EXPECTED)
    elif value is not None and kind is not bool:
        raise refused(name, value, _JSON_EXPECTED)


UNREADABLE = (ValueError, struct.error, IndexError, OverflowError, msgspec.DecodeError)
"""What reading bytes raises that no codec wrote."""
