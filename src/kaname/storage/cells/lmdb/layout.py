"""How cells lie in an LMDB database: one key space, big-endian so that it sorts.

f                     format
g                     generation of the catalogue: new bytes whenever a table changes
n                     the next number of a family; none is used twice
t <table>             the families of a table, with their numbers
c <number> <row>      a row's cells of one family in one value

A row of a family is one value, so that it is read with one look-up; to write one of its cells is to write all of them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TypeAlias

import msgspec

from kaname.errors import CorruptData
from kaname.storage.cells.types import MAX_ROW_BYTES, Cell, Family
from kaname.storage.mapped.environment import Format

FORMAT = Format("cell store", 1)
GENERATION = b"g"
NEXT_NUMBER = b"n"
TABLE = b"t"
CELLS = b"c"
PREFIX_BYTES = 5
"""Bytes in front of the row: `CELLS` and the number of the family."""

_prefix = struct.Struct(">cI")
_header = struct.Struct(">q?")
HEADER_BYTES = _header.size
"""The oldest timestamp (µs) of the cells, and whether a qualifier has several."""
SEVERAL = HEADER_BYTES - 1

TimeNs: TypeAlias = Callable[[], int]

_encode = msgspec.msgpack.Encoder().encode
_cells_of = msgspec.msgpack.Decoder(list[Cell]).decode


class Column(msgspec.Struct, frozen=True):
    """A family as this database keeps it."""

    prefix: bytes
    """Its keys begin with this."""
    family: Family
    ttl_us: int
    """0: for ever."""

    def dead_us(self, now_us: int) -> int:
        """Cells with this timestamp or an older one are gone."""
        return now_us - self.ttl_us if self.ttl_us else -1


def column_of(number: int, family: Family) -> Column:
    """Family `number`."""
    ttl_us = 0 if family.ttl_s is None else max(1, round(family.ttl_s * 1e6))
    return Column(_prefix.pack(CELLS, number), family, ttl_us)


def number_of(column: Column) -> int:
    """The number of a family."""
    return int.from_bytes(column.prefix[1:], "big")


def key_of(prefix: bytes, row: bytes) -> bytes:
    """The key of a row, or a place between rows: none is longer than `MAX_ROW_BYTES`, so nothing behind that counts."""
    return prefix + row[: MAX_ROW_BYTES + 1]


def pack(cells: Sequence[Cell]) -> bytes:
    """Cells, in order, as one value; at least one."""
    oldest = min(cell.timestamp_us for cell in cells)
    several = any(one.qualifier == two.qualifier for one, two in pairwise(cells))
    return _header.pack(oldest, several) + _encode(cells)


def pack_values(values: Mapping[bytes, bytes], stamp: int) -> bytes:
    """The same of cells that are put together, without making them."""
    cells = [(qualifier, stamp, value) for qualifier, value in sorted(values.items())]
    return _header.pack(stamp, False) + _encode(cells)


def unpack(value: bytes) -> list[Cell]:
    """The cells in a value. Raises CorruptData."""
    try:
        return _cells_of(value[HEADER_BYTES:])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptData("a row of cells cannot be read", found=str(error), expected="a list of cells") from error


def oldest_of(value: bytes) -> int:
    """The oldest timestamp (µs) in a value."""
    return int.from_bytes(value[:SEVERAL], "big")


def seen(column: Column, value: bytes, wanted: Collection[bytes] | None, versions: int, time_ns: TimeNs) -> list[Cell]:
    """Of the cells in a value those that a reader sees who wants these qualifiers, `versions` of each."""
    cells = unpack(value)
    if wanted is not None:
        cells = [cell for cell in cells if cell.qualifier in wanted]
    if value[SEVERAL]:
        cells = newest(cells, min(versions, column.family.versions))
    if column.ttl_us and oldest_of(value) <= (dead_us := time_ns() // 1000 - column.ttl_us):
        cells = [cell for cell in cells if cell.timestamp_us > dead_us]
    return cells


def newest(cells: Iterable[Cell], versions: int) -> list[Cell]:
    """The first `versions` cells of each qualifier; they come in order."""
    kept: list[Cell] = []
    qualifier, room = None, versions
    for cell in cells:
        if cell.qualifier != qualifier:
            qualifier, room = cell.qualifier, versions
        if room > 0:
            kept.append(cell)
            room -= 1
    return kept
