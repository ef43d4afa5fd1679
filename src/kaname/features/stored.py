"""A relation with its rows: written to all its layouts, read from the one that holds what is asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import TypeAlias

from kaname.clock import Clock
from kaname.features.layout import Layout, StoreName
from kaname.features.placement import Placement
from kaname.features.ranges import Span
from kaname.features.types import Relation, Row
from kaname.storage.cells.types import Cells, CellStore, Mutation, Put

BATCH_BYTES = 4 * 1024 * 1024

_Made: TypeAlias = list[tuple[StoreName, list[Mutation]]]
"""What writes one row, by store."""


class StoredRelation:
    """Rows of one relation. Thread-safe.

    All layouts in one store change together where the store writes a batch at once (LMDB does). Layouts in several
    stores change one store after the other: when a call raises Unavailable or DeadlineExceeded some may have changed,
    and the same call again is safe.
    """

    def __init__(self, placement: Placement, clock: Clock) -> None:
        self.placement = placement
        """What is in force now; `Features` puts another one here. Read it once for all that belongs together."""
        self._clock = clock
        self._last_us = 0
        self._lock = threading.Lock()

    @property
    def relation(self) -> Relation:
        """Its attributes and their types."""
        return self.placement.relation

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """Those that may be read."""
        return self.placement.layouts

    def insert(self, rows: Iterable[Row]) -> int:
        """Write whole rows, over those with the same keys; returns how many, when they are durable.

        Raises InvalidInput with `rows[i].attribute` before anything is written. Rows of up to `BATCH_BYTES` are written
        in one batch; of two with one key the later one stays.
        """
        return self._write(list(rows), Layout.put)

    def update(self, rows: Iterable[Row]) -> int:
        """The same with only the attributes that each row names, where every layout can write them: see `patch`."""
        return self._write(list(rows), Layout.patch)

    def delete(self, keys: Iterable[Row]) -> None:
        """Delete the rows with these keys, durably; what is not there is no error."""

        def made(layout: Layout, key: Row, *, timestamp_us: int, number: int) -> list[Mutation]:
            return [layout.delete(key, timestamp_us=timestamp_us, number=number)]

        self._write(list(keys), made)

    def get(self, key: Row, attributes: Collection[str] | None = None) -> dict[str, object] | None:
        """The row with this key, or only some attributes of it; None: there is none."""
        placement = self.placement
        if attributes is not None or len(placement.whole) > 1:
            return self.get_many([key], attributes)[0]
        layout = placement.whole[0]
        row = layout.key(key)
        cells = placement.stores[layout.store].get(layout.table, row)
        return layout.decode(row, cells) if cells else None

    def get_many(
        self, keys: Sequence[Row], attributes: Collection[str] | None = None
    ) -> list[dict[str, object] | None]:
        """The same for many keys, in their order. Raises InvalidInput, and what a store raises that does not answer."""
        placement = self.placement
        wanted = placement.relation.names if attributes is None else tuple(attributes)
        found: list[dict[str, object] | None] = [None] * len(keys)
        layouts = placement.whole if attributes is None else placement.holding(wanted)
        for layout in layouts:
            store = placement.stores[layout.store]
            for i, row in enumerate(_read(store, layout, keys, None if attributes is None else wanted)):
                if row is not None:
                    found[i] = {**(found[i] or {}), **row}
        if attributes is None and len(layouts) == 1:
            return found
        return [None if row is None else {name: row.get(name) for name in wanted} for row in found]

    def scan(
        self, layout: Layout, span: Span, *, limit: int | None = None, reverse: bool = False
    ) -> Iterator[dict[str, object]]:
        """The rows of a span (see `Layout.span`) with the attributes that the layout holds, in the order of their keys;
        with `reverse` from the last to the first; at most `limit`. What is written meanwhile may be among them."""
        store = self.placement.stores[layout.store]
        for row in store.scan(layout.table, span.start, span.stop, limit=limit, reverse=reverse):
            yield layout.decode(row.key, row.cells)

    def _write(self, rows: Sequence[Row], made: Callable[..., list[Mutation]]) -> int:
        """All rows are made before the first is written; each has a time of its own, in their order."""
        placement, first_us = self.placement, self._times(len(rows))
        ready: list[_Made] = [
            [(layout.store, made(layout, row, timestamp_us=first_us + i, number=i)) for layout in placement.written]
            for i, row in enumerate(rows)
        ]
        for batch in _batches(ready):
            for store, mutations in batch.items():
                placement.stores[store].write(mutations)
        return len(rows)

    def _times(self, count: int) -> int:
        """The first of so many microseconds that no earlier write of this object has had."""
        with self._lock:
            first = max(self._clock.time_ns() // 1000, self._last_us + 1)
            self._last_us = first + count
            return first


def _read(
    store: CellStore, layout: Layout, keys: Sequence[Row], attributes: Sequence[str] | None
) -> Iterator[dict[str, object] | None]:
    rows = [layout.key(key, number=i) for i, key in enumerate(keys)]
    columns = None if attributes is None else layout.columns(attributes)
    for row, cells in zip(rows, store.get_many(layout.table, rows, columns), strict=True):
        whole: Cells = cells if cells or columns is None else store.get(layout.table, row)
        yield layout.decode(row, whole) if whole else None


def _batches(rows: Iterable[_Made]) -> Iterator[dict[StoreName, list[Mutation]]]:
    """Rows together, so many that no batch is much larger than `BATCH_BYTES`; a row is never divided."""
    batch: dict[StoreName, list[Mutation]] = {}
    size = 0
    for row in rows:
        for store, mutations in row:
            batch.setdefault(store, []).extend(mutations)
            size += sum(map(_bytes_of, mutations))
        if size > BATCH_BYTES:
            yield batch
            batch, size = {}, 0
    if batch:
        yield batch


def _bytes_of(mutation: Mutation) -> int:
    values = mutation.values.items() if isinstance(mutation, Put) else ()
    return len(mutation.row) + sum(len(qualifier) + len(value) for qualifier, value in values)
