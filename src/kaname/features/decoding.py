"""From cells to rows: all attributes, or some, and then no others are decoded."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TypeAlias

from kaname.errors import CorruptData
from kaname.features.codecs import UNREADABLE
from kaname.features.groups import Group
from kaname.features.parts import CompiledPart, take_parts
from kaname.storage.cells.types import Cells

Decode: TypeAlias = Callable[[bytes, Cells], dict[str, object]]
"""The row of a key and its cells; what is not in these is null. Raises CorruptData for bytes of no row."""


def decoder(
    where: tuple[str, str], row: Sequence[CompiledPart], groups: Sequence[Group], attributes: Collection[str]
) -> Decode:
    """What reads `attributes`; others may be among what it finds. `where`: names of the layout and its table."""
    wanted, empty = frozenset(attributes), dict[str, object].fromkeys(attributes)
    reads = [group.only(wanted).read for group in groups if wanted.intersection(group.attributes)]
    last = max((i for i, part in enumerate(row, 1) if part.attribute in wanted), default=0)
    parts, whole = row[:last], last == len(row)

    def decode(key: bytes, cells: Cells) -> dict[str, object]:
        found = empty.copy()
        try:
            for read in reads:
                read(cells, found)
            if parts:
                take_parts(parts, key, found, whole=whole)
        except UNREADABLE as error:
            name, table = where
            raise CorruptData(f"not a row of schema `{name}`: {error}", where=f"{table}[{key.hex()}]") from error
        return found

    return decode
