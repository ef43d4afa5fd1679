"""A relation with its rows: written to all its layouts, read from the one that holds what is asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime
from typing import TypeAlias

import msgspec

from kaname.arrow import RecordBatch
from kaname.clock import Clock
from kaname.errors import Conflict, InvalidInput, NotFound
from kaname.features.history.moments import At, known_at, micros
from kaname.features.history.reading import Change, changes
from kaname.features.history.recording import Kind
from kaname.features.layout import Layout, StoreName
from kaname.features.mirroring import Mirror
from kaname.features.placement import Placement
from kaname.features.ranges import Span
from kaname.features.types import Relation, Row
from kaname.storage.cells.types import Cells, CellStore, Delete, Mutation, Put

BATCH_BYTES = 4 * 1024 * 1024
_END_US = 1 << 62

_Made: TypeAlias = list[tuple[StoreName, list[Mutation]]]
"""What writes one row, by store."""


Made: TypeAlias = Callable[..., list[Mutation]]
"""The mutations of a layout for one row."""


class _Write(msgspec.Struct, frozen=True):
    """Rows on their way."""

    kind: Kind
    rows: Sequence[Row]
    made: Made
    times: Sequence[int]
    """Of each the microsecond of its cells."""
    ordered: bool
    """Whether the times rise."""

    def ready(self, placement: Placement) -> list[_Made]:
        """All rows, made before the first is written, by time. Raises InvalidInput."""
        recorder, ready = placement.recorder, list[_Made]()
        for i, row in enumerate(self.rows):
            us = self.times[i]
            parts = [(layout.store, self.made(layout, row, timestamp_us=us, number=i)) for layout in placement.written]
            if recorder is not None:
                parts.append((placement.home, [recorder.keep(self.kind, row, us)]))
            ready.append(parts)
        return ready if self.ordered else [ready[i] for i in sorted(range(len(ready)), key=self.times.__getitem__)]


class StoredRelation:
    """Rows of one relation. Thread-safe.

    All layouts in one store change together where the store writes a batch at once (LMDB does). Layouts in several
    stores change one store after the other: when a call raises Unavailable or DeadlineExceeded some may have changed,
    and the same call again is safe.
    """

    def __init__(
        self, placement: Placement, clock: Clock, confirm: Callable[[Placement, bool], None] = lambda _, __: None
    ) -> None:
        """`confirm` is called behind each write, before the caller hears of it: where other layouts are in use by then
        it has put another placement here. True: it must know what is in use now."""
        self.placement = placement
        """What is in force now; `Features` puts another one here. Read it once for all that belongs together."""
        self._clock = clock
        self._confirm = confirm
        self._last_us = 0
        self._has_rows = False
        self._lock = threading.Lock()

    @property
    def relation(self) -> Relation:
        """Its attributes and their types."""
        return self.placement.relation

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """Those that may be read."""
        return self.placement.layouts

    def insert(self, rows: Iterable[Row], *, at: At | None = None) -> int:
        """Write whole rows, over those with the same keys; returns how many, when they are durable.

        Raises InvalidInput with `rows[i].attribute` before anything is written. Rows of up to `BATCH_BYTES` are written
        in one batch; of two with one key the later one stays.

        `at`: when they became known (see `history.moments`); None: now. Writes of one key come in this order, each at a
        moment of its own: what is written with an earlier one than what is there is history, and changes no row.
        """
        return self._write("insert", list(rows), Layout.put, at)

    def insert_made(self, rows: Sequence[Row], made: Made, *, at: At | None = None) -> int:
        """The same with mutations that somebody else makes of them: just those of `Layout.put`."""
        return self._write("insert", rows, made, at)

    def update(self, rows: Iterable[Row], *, at: At | None = None) -> int:
        """The same with only the attributes that each row names, where every layout can write them: see `patch`."""
        return self._write("update", list(rows), Layout.patch, at)

    def delete(self, keys: Iterable[Row], *, at: At | None = None) -> None:
        """Delete the rows with these keys, durably; what is not there is no error. `at`: as `insert`."""

        def made(layout: Layout, key: Row, *, timestamp_us: int, number: int) -> list[Mutation]:
            return [layout.delete(key, timestamp_us=timestamp_us, number=number)]

        self._write("delete", list(keys), made, at)

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
        self,
        layout: Layout,
        span: Span,
        *,
        limit: int | None = None,
        reverse: bool = False,
        attributes: Collection[str] | None = None,
    ) -> Iterator[dict[str, object]]:
        """The rows of a span (see `Layout.span`) with the attributes that the layout holds, in the order of their keys;
        with `reverse` from the last to the first; at most `limit`. What is written meanwhile may be among them.

        `attributes`: those that are needed; others may be among what it finds. None: all."""
        store = self.placement.stores[layout.store]
        columns, decode = None, layout.decode
        if attributes is not None:
            columns, decode = layout.columns_of_rows(attributes), layout.decode_some(attributes)
        for row in store.scan(layout.table, span.start, span.stop, columns=columns, limit=limit, reverse=reverse):
            yield decode(row.key, row.cells)

    def changes(self, start: datetime | None = None, stop: datetime | None = None) -> Iterator[Change]:
        """The recorded writes that became known at `start` or later, before `stop`, in the order of these moments.

        Raises InvalidInput for a relation without history.
        """
        placement = self.placement
        if placement.recorder is None:
            raise InvalidInput(
                "the writes of this relation are not kept",
                where=placement.relation.name,
                expected="`define relation … with history` in the schema",
            )
        bounds = (0 if start is None else micros(start), _END_US if stop is None else micros(stop))
        return changes(placement.recorder, placement.stores[placement.home], *bounds)

    def history(self, start: datetime | None = None, stop: datetime | None = None) -> Iterator[RecordBatch]:
        """The same as Arrow batches; see `history.exporting`. Raises MissingDependency, too."""
        from kaname.features.history.exporting import batches  # what Arrow needs, which few processes do

        return batches(self.changes(start, stop), self.relation.attributes)

    def _write(self, kind: Kind, rows: Sequence[Row], made: Made, at: At | None) -> int:
        """Write to all layouts that are in use at the end: those may change while rows are on their way.

        Each row has a time of its own, in their order.
        """
        placement = self.placement
        write = _Write(kind, rows, made, self._times(placement, rows, at), ordered=at is None)
        placement = self._write_in(placement, write)
        while True:
            self._confirm(placement, not self._has_rows)
            now = self.placement
            if now is placement:
                self._has_rows = kind != "delete"
                return len(rows)
            if now.origin != placement.origin:
                _take_back(placement, write)
                if at is not None:  # what is written at the moment of what was deleted may not be seen
                    raise _another(now.relation)
                write = msgspec.structs.replace(write, times=self._times(now, rows, None))
                placement = self._write_in(now, write)
                continue
            placement = now if _caught_up(placement, now, rows) else self._write_in(now, write)

    def _write_in(self, placement: Placement, write: _Write) -> Placement:
        """Returns what was written: another placement where a table has gone meanwhile."""
        try:
            for batch in _batches(write.ready(placement)):
                for store, mutations in batch.items():
                    placement.stores[store].write(mutations)
        except NotFound:
            self._confirm(placement, True)
            if self.placement is placement:
                raise
            return self._write_in(self.placement, write)
        return placement

    def _times(self, placement: Placement, rows: Sequence[Row], at: At | None) -> Sequence[int]:
        """Of each row the microsecond of its cells: without `at` one that no earlier write of this object has had."""
        now_us, count = self._clock.time_ns() // 1000, len(rows)
        if at is not None:
            return _told_apart(placement.layouts[0], rows, known_at(placement.relation, rows, at, now_us))
        with self._lock:
            first = max(now_us, self._last_us + 1)
            self._last_us = first + count
            return range(first, first + count)


def _take_back(placement: Placement, write: _Write) -> None:
    """Delete what was written before anybody could know that the relation is another one now."""
    for batch in _batches(write.ready(placement)):
        for store, mutations in batch.items():
            put = [Delete(each.table, each.row, until_us=each.timestamp_us) for each in mutations if type(each) is Put]
            placement.stores[store].write(put)


def _another(relation: Relation) -> Conflict:
    return Conflict(
        "the relation has become another one, which it may while it has no rows; nothing was written",
        where=relation.name,
        expected="the same again",
    )


def _told_apart(layout: Layout, rows: Sequence[Row], times: list[int]) -> list[int]:
    """Of two rows with one key and one moment the later one comes a microsecond later."""
    last: dict[bytes, tuple[int, int]] = {}
    for i, row in enumerate(rows):
        key, said = layout.key(row, number=i), times[i]
        before, given = last.get(key, (None, said))
        times[i] = given + 1 if before == said else said
        last[key] = (said, times[i])
    return times


def _caught_up(before: Placement, now: Placement, rows: Sequence[Row]) -> bool:
    """Bring rows that were written as of `before` to layouts that have come since, from one that has stayed; returns
    whether there is one."""
    places = {layout.place for layout in before.written}
    for target in (layout for layout in now.written if layout.place not in places):
        stayed = (layout for layout in now.written if layout.place in places)
        source = next((layout for layout in stayed if {*layout.attributes} >= {*target.attributes}), None)
        if source is None:
            return False
        mirror = Mirror(source, now.stores[source.store], target, now.stores[target.store])
        mirror.make_equal([target.key(row) for row in rows])
    return True


def _read(
    store: CellStore, layout: Layout, keys: Sequence[Row], attributes: Sequence[str] | None
) -> Iterator[dict[str, object] | None]:
    rows = [layout.key(key, number=i) for i, key in enumerate(keys)]
    columns = None if attributes is None else layout.columns(attributes)
    decode = layout.decode if attributes is None else layout.decode_some(attributes)
    for row, cells in zip(rows, store.get_many(layout.table, rows, columns), strict=True):
        whole: Cells = cells if cells or columns is None else store.get(layout.table, row)
        yield decode(row, whole) if whole else None


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
    if not isinstance(mutation, Put):
        return len(mutation.row)
    values = mutation.values
    return len(mutation.row) + len(b"".join(values)) + sum(map(len, values.values()))
