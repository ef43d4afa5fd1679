"""How one write is kept: attributes in packs, with a mark that says of which attributes these are.

The marks, and the attributes behind them, are kept in the table, too: what was written before a schema changed stays
readable.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from blake3 import blake3

from kaname.features.codecs import codec_of
from kaname.features.packing import MOST_PACKED, pack_of
from kaname.features.types import Attribute, Row

MARK_BYTES = 4


class Form:
    """Rows of some attributes as values by number, and back."""

    def __init__(self, attributes: Sequence[Attribute]) -> None:
        self.attributes = tuple(attributes)
        self.said = msgspec.json.encode(self.attributes)
        """What makes the same form again: see `form_of`."""
        self.mark = blake3(self.said).digest(MARK_BYTES)
        codecs = [codec_of(attribute) for attribute in attributes]
        self._packs = [pack_of(codecs[i : i + MOST_PACKED]) for i in range(0, len(codecs), MOST_PACKED)]
        self._names = [attribute.name for attribute in attributes]
        self._mask_bytes = (len(self._names) + 7) // 8

    def write(self, row: Row) -> list[bytes]:
        """The packs. Raises InvalidInput with the attribute as `where`."""
        return [pack(row) for pack, _ in self._packs]

    def read(self, packs: Sequence[bytes]) -> dict[str, object]:
        """What was written. Raises one of `codecs.UNREADABLE`."""
        row: dict[str, object] = {}
        for (_, unpack), data in zip(self._packs, packs, strict=True):
            unpack(data, row)
        return row

    def mask(self, row: Row) -> bytes:
        """Which attributes a row names: a bit for each."""
        bits = sum(1 << i for i, name in enumerate(self._names) if name in row)
        return bits.to_bytes(self._mask_bytes, "little")

    def named(self, mask: bytes) -> frozenset[str]:
        """The attributes in a mask."""
        bits = int.from_bytes(mask, "little")
        return frozenset(name for i, name in enumerate(self._names) if bits >> i & 1)


def form_of(said: bytes) -> Form:
    """The form that says this. Raises `msgspec.DecodeError`."""
    return Form(msgspec.json.decode(said, type=tuple[Attribute, ...]))
