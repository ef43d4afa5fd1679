"""Cells as they lie in Cassandra: how a value is written there, and which of those that lie there are seen."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeAlias

from kaname.storage.cells.types import Cell, Cells, Columns, Family

PUT_BYTES = 8
"""Before each value: the moment when it was put."""
DAY_S = 86_400
MOST_TTL_S = 20 * 365 * DAY_S
"""Cassandra keeps no longer time to live; what lives longer is kept for ever, and not seen when it is over."""
SPARE = 16
"""So many cells beyond those kept are left lying before somebody removes them."""

Found: TypeAlias = tuple[bytes, str, bytes, int, bytes]
"""A cell as it is read: row, family, qualifier, timestamp, value with the moment before it."""


class Excess(NamedTuple):
    """Cells that nobody sees any more: those of a qualifier up to a timestamp."""

    row: bytes
    family: str
    qualifier: bytes
    until_us: int


def stored(value: bytes, put_us: int) -> bytes:
    """A value that was put at a moment."""
    return put_us.to_bytes(PUT_BYTES, "big") + value


def slot_of(family: Family, timestamp_us: int) -> int:
    """Where among the cells of its qualifier a new one lies."""
    return 0 if family.versions == 1 else timestamp_us


def ttl_of(family: Family, timestamp_us: int, now_us: int) -> int | None:
    """For how many seconds a new cell is kept (0: for ever), or None when it is over already.

    Longer than it is seen: it counts from the write, not from the timestamp, so that of two writes of one cell the
    later one never ends first. Cassandra would prefer the other.
    """
    if family.ttl_s is None:
        return 0
    if timestamp_us + family.ttl_s * 1e6 <= now_us:
        return None
    kept_s = math.ceil(family.ttl_s) + DAY_S
    return 0 if kept_s > MOST_TTL_S or timestamp_us > now_us + DAY_S * 1_000_000 else kept_s


def seen(
    found: Iterable[Found],
    families: Mapping[str, Family],
    columns: Columns | None,
    versions: int,
    now_us: int,
    excess: list[Excess],
) -> Cells:
    """The cells of one row that are asked for and seen; adds to `excess` what should be removed."""
    cells: Cells = {}
    for (name, qualifier), (row, lying) in _by_qualifier(found).items():
        family = families.get(name)
        if family is None or not _wanted(columns, name, qualifier):
            continue
        if len(lying) > 1:
            lying = _newest_first(lying)
            if len(lying) > family.versions + SPARE:
                excess.append(Excess(row, name, qualifier, lying[family.versions][0]))
        dead_us = -1 if family.ttl_s is None else now_us - round(family.ttl_s * 1e6)
        some = lying[: min(versions, family.versions)]
        alive = [Cell(qualifier, stamp, value[PUT_BYTES:]) for stamp, value in some if stamp > dead_us]
        if alive:
            cells.setdefault(name, []).extend(alive)
    return cells


_Lying: TypeAlias = list[tuple[int, bytes]]
"""Timestamps and values."""


def _by_qualifier(found: Iterable[Found]) -> dict[tuple[str, bytes], tuple[bytes, _Lying]]:
    """By family and qualifier, in their order."""
    by: dict[tuple[str, bytes], tuple[bytes, _Lying]] = {}
    for row, family, qualifier, stamp, value in found:
        lying = by.get((family, qualifier))
        if lying is None:
            by[family, qualifier] = row, [(stamp, value)]
        else:
            lying[1].append((stamp, value))
    return by


def _newest_first(lying: _Lying) -> _Lying:
    """One of each timestamp, that which was put last; a family that kept another number once has two of some."""
    return sorted(dict(sorted(lying)).items(), reverse=True)


def _wanted(columns: Columns | None, family: str, qualifier: bytes) -> bool:
    if columns is None:
        return True
    qualifiers = columns.get(family, ())
    return qualifiers is None or qualifier in qualifiers
