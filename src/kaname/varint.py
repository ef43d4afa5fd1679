"""Numbers as protobuf writes them, for messages whose bytes are written by hand."""

from __future__ import annotations


def varint(number: int) -> bytes:
    """A number that is not negative, as protobuf writes lengths and integers."""
    if number < 128:
        return _SMALL[number]
    parts = bytearray()
    while number >= 128:
        parts.append(number & 127 | 128)
        number >>= 7
    parts.append(number)
    return bytes(parts)


_SMALL = [bytes((number,)) for number in range(128)]
