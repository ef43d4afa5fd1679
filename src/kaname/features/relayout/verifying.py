"""Compares the rows of two layouts while both are written: some at random places of either side, or all."""

from __future__ import annotations

import time
from collections.abc import Iterator
from random import Random

from kaname.errors import CorruptData
from kaname.features.layout import Layout
from kaname.features.mirroring import Mirror
from kaname.features.relayout.copying import page
from kaname.storage.cells.types import MAX_ROW_BYTES, CellStore, Row

RUN_ROWS = 20
"""So many rows that lie together are compared at one place."""
STEPS = 12
"""Random halvings that lead to a place."""
LOOKS, PAUSE_S = 5, 0.05
"""A row that is on its way differs for a moment: it is looked at so often before that counts."""


class Sides:
    """The two layouts, with their rows."""

    def __init__(self, mirror: Mirror, source: CellStore, target: CellStore) -> None:
        self.mirror = mirror
        self.source, self.target = source, target

    def sample(self, count: int, random: Random) -> int:
        """Compare `count` rows of each side; returns how many were. Raises CorruptData for one that differs."""
        keys = self._keys(sampled(self.source, self.mirror.source, count, random))
        keys |= {row.key for row in sampled(self.target, self.mirror.target, count, random)}
        if different := self.differing(sorted(keys)):
            raise CorruptData(
                f"{len(different)} of {len(keys)} rows differ between `{self.mirror.source.name}` and the new layout",
                where=f"{self.mirror.target.table}[{different[0].hex()}]",
                expected="--full, which compares all rows and mends them; or --abort",
            )
        return len(keys)

    def pages(self) -> Iterator[list[bytes]]:
        """The keys in the target of all rows: first of those in the source, then of those in the target."""
        for rows in _pages(self.source, self.mirror.source):
            yield sorted(self._keys(rows))
        for rows in _pages(self.target, self.mirror.target):
            yield [row.key for row in rows]

    def differing(self, keys: list[bytes]) -> list[bytes]:
        """Those that are not equal, and stay so."""
        for look in range(LOOKS):
            keys = [mutations[0].row for mutations in self.mirror.differences(keys)]
            if not keys:
                return []
            time.sleep(PAUSE_S * (look + 1 < LOOKS))
        return keys

    def _keys(self, rows: list[Row]) -> set[bytes]:
        return {self.mirror.target_key(row.key, row.cells) for row in rows}


def _pages(store: CellStore, layout: Layout) -> Iterator[list[Row]]:
    after = b""
    while rows := page(store, layout, after):
        yield rows
        after = rows[-1].key


def sampled(store: CellStore, layout: Layout, count: int, random: Random) -> list[Row]:
    """About `count` rows, in runs from random places: all of them where there are no more."""
    found: dict[bytes, Row] = {}
    for _ in range(2 * count // RUN_ROWS + 1):
        for row in store.scan(layout.table, _place(store, layout.table, random), limit=min(RUN_ROWS, count)):
            found[row.key] = row
        if len(found) >= count:
            break
    return list(found.values())


def _place(store: CellStore, table: str, random: Random) -> bytes:
    """A random walk to a key: each step halves the bytes between two keys that are there, and takes one half."""
    low = next((row.key for row in store.scan(table, limit=1)), b"")
    high = next((row.key for row in store.scan(table, limit=1, reverse=True)), b"")
    start = low
    for _ in range(random.randrange(STEPS)):
        middle = _between(low, high, random)
        upper = next((row.key for row in store.scan(table, middle, limit=1)), None)
        if upper is not None and upper < high and random.random() < 0.5:
            low = start = upper
        else:
            high = middle
        if low >= high:
            break
    return start


def _between(low: bytes, high: bytes, random: Random) -> bytes:
    width = max(len(low), len(high), 1) + 1
    first, last = (int.from_bytes(key.ljust(width, b"\0"), "big") for key in (low, high))
    return random.randint(first, max(first, last)).to_bytes(width, "big")[:MAX_ROW_BYTES]
