"""Copies the rows of a layout to another one while both are written; goes on where it was, also after being killed."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from kaname.features.layout import Layout
from kaname.features.mirroring import Mirror
from kaname.features.relayout.progress import Kept
from kaname.features.relayout.types import How, Progress
from kaname.storage.cells.types import CellStore, Row

PAGE_ROWS = 500

Told = Callable[[Progress, float | None], None]
"""Hears how far it is, and which share that is, about."""


def copy(store: CellStore, mirror: Mirror, kept: Kept, progress: Progress, how: How, told: Told) -> Progress:
    """Copy what is not there yet. What is about to be written is saved before: when this is cut short, just these rows
    may have changed in the source meanwhile, and are made equal first."""
    mirror.make_equal(progress.flying)
    began, before = time.monotonic(), progress.rows
    while rows := page(store, mirror.source, progress.after):
        keys = tuple(mirror.target_key(row.key, row.cells) for row in rows)
        progress = kept.save(msgspec.structs.replace(progress, flying=keys))
        mirror.make_equal(keys)
        progress = msgspec.structs.replace(progress, after=rows[-1].key, rows=progress.rows + len(rows))
        told(progress, share_of(store, mirror.source, progress.after))
        if how.rows_per_s is not None:
            time.sleep(max(0.0, (progress.rows - before) / how.rows_per_s - (time.monotonic() - began)))
    return kept.save(msgspec.structs.replace(progress, flying=(), stage="verify"))


def page(store: CellStore, layout: Layout, after: bytes) -> list[Row]:
    """The next rows of a layout behind a key."""
    start = after + b"\0" if after else b""
    return list(store.scan(layout.table, start, limit=PAGE_ROWS))


def share_of(store: CellStore, layout: Layout, key: bytes) -> float | None:
    """Where a key is between the first and the last one, were they spread evenly; None: there is no row."""
    ends = [*store.scan(layout.table, limit=1), *store.scan(layout.table, limit=1, reverse=True)]
    if not ends:
        return None
    low, high, at = (_number(row, ends[0].key) for row in (ends[0].key, ends[-1].key, key))
    return 1.0 if high <= low else min(1.0, max(0.0, (at - low) / (high - low)))


def _number(key: bytes, other: bytes) -> int:
    """The first bytes of a key as a number."""
    width = max(len(other), 16)
    return int.from_bytes(key[:width].ljust(width, b"\0"), "big")
