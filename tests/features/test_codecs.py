"""Every type as bytes: the ordered form of keys and the plain form of values."""

from __future__ import annotations

import math
import struct
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import numpy as np
import pytest

from kaname.features.codecs import codec_of
from kaname.features.types import Attribute, Type

TIME = datetime(2026, 11, 28, 4, 30, 0, 1, UTC)
CASES: list[tuple[Type, object, str, str]] = [
    (Type("string"), "é", "c3a9", "c3a9"),
    (Type("bytes"), b"\x00\xff", "00ff", "00ff"),
    (Type("bool"), True, "01", "01"),
    (Type("bool"), False, "00", "00"),
    (Type("int32"), 1, "80000001", "00000001"),
    (Type("int32"), -1, "7fffffff", "ffffffff"),
    (Type("int64"), -(1 << 63), "0000000000000000", "8000000000000000"),
    (Type("float32"), 1.5, "bfc00000", "3fc00000"),
    (Type("float64"), 1.5, "bff8000000000000", "3ff8000000000000"),
    (Type("float64"), -1.5, "4007ffffffffffff", "bff8000000000000"),
    (Type("timestamp"), TIME, "8006614ea131c201", "0006614ea131c201"),
    (Type("date"), date(1970, 1, 2), "80000001", "00000001"),
    (Type("decimal", precision=9, scale=2), Decimal("1.50"), "80000096", "00000096"),
    (Type("decimal", precision=18, scale=2), Decimal("-0.01"), "7fffffffffffffff", "ffffffffffffffff"),
    (Type("decimal", precision=38, scale=0), Decimal(1), "80" + "00" * 14 + "01", "00" * 15 + "01"),
]


@pytest.mark.parametrize(("kind", "value", "key", "plain"), CASES, ids=str)
def test_a_value_has_these_bytes_in_keys_and_in_values(kind: Type, value: object, key: str, plain: str) -> None:
    """Both forms, there and back."""
    codec = codec_of(Attribute("a", kind))
    assert codec.write_key(value).hex() == key
    assert codec.write(value).hex() == plain
    assert codec.read_key(bytes.fromhex(key)) == value
    assert codec.read(bytes.fromhex(plain)) == value


def test_types_without_order_have_a_plain_form_only() -> None:
    """JSON is JSON; a vector is its numbers."""
    document = {"a": [1, None, "é"], "b": 0.5}
    json = codec_of(Attribute("a", Type("json")))
    assert json.read(json.write(document)) == document
    assert json.write([1, 2]) == b"[1,2]"
    vector = codec_of(Attribute("a", Type("vector", item="float32", length=2)))
    assert vector.write([1.0, -2.0]) == struct.pack(">2f", 1, -2)
    assert vector.read(vector.write(np.array([1, -2], np.float32))) == (1.0, -2.0)


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_numbers_sort_as_bytes_from_least_to_greatest(kind: str) -> None:
    """Infinities, denormals and both signs; the two zeros are one key."""
    codec = codec_of(Attribute("a", Type(kind)))
    values = [-math.inf, -1e30, -1.0, -1e-40, 0.0, 1e-40, 1.0, 1e30, math.inf]
    keys = [codec.write_key(value) for value in values]
    assert keys == sorted(keys)
    assert codec.write_key(-0.0) == codec.write_key(0.0)
    assert math.copysign(1, codec.read(codec.write(-0.0))) == -1  # type: ignore[arg-type]  # a float


def test_scalars_of_numpy_count_as_what_they_hold() -> None:
    """Rows often come from arrays."""
    assert codec_of(Attribute("a", Type("int64"))).write(np.int64(5)) == struct.pack(">q", 5)
    assert codec_of(Attribute("a", Type("float64"))).write(np.float64(0.5)) == struct.pack(">d", 0.5)
    assert codec_of(Attribute("a", Type("float32"))).write(np.float32(0.5)) == struct.pack(">f", 0.5)
    assert codec_of(Attribute("a", Type("bool"))).write(np.bool(True)) == b"\1"


def test_a_time_is_the_same_moment_in_any_time_zone() -> None:
    """What comes back is in UTC."""
    codec = codec_of(Attribute("a", Type("timestamp")))
    there = TIME.astimezone(timezone(timedelta(hours=9)))
    assert codec.write(there) == codec.write(TIME)
    found = codec.read(codec.write(there))
    assert isinstance(found, datetime)
    assert (found, found.tzinfo) == (TIME, UTC)
