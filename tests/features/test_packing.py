"""A pack of which some attributes are read says of them what the whole says."""

from __future__ import annotations

import struct
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaname.features.codecs import codec_of
from kaname.features.packing import pack_of, unpack_of_some
from kaname.features.types import Attribute, Type

VALUES: dict[str, tuple[Type, object]] = {
    "b": (Type("bool"), True),
    "i": (Type("int32"), -7),
    "l": (Type("int64"), 1 << 40),
    "f": (Type("float32"), 0.5),
    "d": (Type("float64"), 1.25),
    "t": (Type("timestamp"), datetime(2026, 11, 28, 4, 30, 0, 1, UTC)),
    "y": (Type("date"), date(2026, 11, 28)),
    "m": (Type("decimal", precision=9, scale=2), Decimal("1.50")),
    "g": (Type("decimal", precision=38, scale=1), Decimal("-12345678901234567890.5")),
    "v": (Type("vector", item="float32", length=2), (1.0, 2.0)),
    "s": (Type("string"), "tea"),
    "j": (Type("json"), [1]),
}
NAMES = st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=12, unique=True)


@given(
    names=NAMES,
    wanted=st.sets(st.sampled_from(sorted(VALUES))),
    nulls=st.sets(st.sampled_from(sorted(VALUES))),
    fewer=st.integers(0, 3),
)
def test_some_attributes_are_read_as_among_all(names: list[str], wanted: set[str], nulls: set[str], fewer: int) -> None:
    """Any types, nulls, and packs that were written before attributes were appended."""
    codecs = [codec_of(Attribute(name, VALUES[name][0])) for name in names]
    row = {name: None if name in nulls else VALUES[name][1] for name in names}
    written = codecs[: max(1, len(codecs) - fewer)]
    data = pack_of(written)[0](row)
    expected: dict[str, object] = dict.fromkeys(names)
    pack_of(codecs)[1](data, expected)
    some = unpack_of_some(codecs, wanted)
    found: dict[str, object] = dict.fromkeys(names)
    some(data, found)
    assert {name: found[name] for name in wanted & set(names)} == {name: expected[name] for name in wanted & set(names)}


def test_bytes_that_are_no_pack_are_not_read() -> None:
    """Too short, too long, and of more attributes than are known."""
    codecs = [codec_of(Attribute(name, Type("int32"))) for name in "ab"]
    data = pack_of(codecs)[0]({"a": 1, "b": 2})
    some = unpack_of_some(codecs, {"b"})
    for wrong in (data[:-1], data + b"x", b"", b"\x09" + data[1:]):
        with pytest.raises((ValueError, struct.error)):
            some(wrong, {})
