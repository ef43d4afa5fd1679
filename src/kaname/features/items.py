"""Values of each type, checked, as what `struct` packs."""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal
from typing import Any, TypeAlias

import msgspec
import numpy as np

from kaname.features.documents import document
from kaname.features.refusing import LONE_SURROGATE, refused
from kaname.features.types import Type

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

SCALARS = ("string", "bytes", "bool", "int32", "int64", "float32", "float64", "timestamp", "date", "json")
"""The types without arguments."""
NUMBERS = tuple(_VECTOR_CODES)
"""What a vector may be made of."""
NOT_IN_KEYS = ("json", "vector")
"""Types without an order."""


def item_of(name: str, of: Type) -> tuple[str, Callable[[object], Item], Callable[[Any], object] | None]:
    """The `struct` code of a type, how a value becomes an item, and how that becomes a value again."""
    match of.name:
        case "string":
            return "", _string(name), bytes.decode
        case "bytes":
            return "", _bytes(name), None
        case "json":
            return "", document(name), lambda data: msgspec.json.decode(data) if data else None
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


def _float(name: str, kind: str) -> Callable[[object], float]:
    def item(value: object) -> float:
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
        if -_FLOAT32_MAX < found < _FLOAT32_MAX or found != found or found in (np.inf, -np.inf):
            return found
        raise refused(name, value, "a number that float32 can hold")

    return item


def _string(name: str) -> Callable[[object], bytes]:
    def item(value: object) -> bytes:
        if not isinstance(value, str):
            raise refused(name, value, "text")
        try:
            return value.encode()
        except UnicodeEncodeError:
            raise refused(name, value, LONE_SURROGATE) from None

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
