"""Makes rows of one layout equal to those of another one while both are written.

Every cell is copied with the time of the cell that it comes from, so a copy never lies over something newer. A row or a
cell that was deleted between being read and being copied would come back: after each write both sides are compared
again, the copy first. Who writes a row writes the source first, so what the copy has and the source lacks was deleted
from the source, and is deleted from the copy as of its own time. When a comparison finds nothing, the rows are equal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from kaname.errors import Conflict
from kaname.features.groups import MARKER
from kaname.features.layout import Layout
from kaname.storage.cells.types import MAX_BATCH_BYTES, Cell, Cells, CellStore, Delete, Mutation, Put

TRIES = 20
"""Comparisons of rows that change all the time; more than a few would be a fault."""
_MAX_BYTES = MAX_BATCH_BYTES // 4

_Places = dict[tuple[str, bytes], list[str]]
"""The attributes in each cell."""


class Mirror:
    """Rows of `source` that are to be in `target` as well. Thread-safe."""

    def __init__(self, source: Layout, source_store: CellStore, target: Layout, target_store: CellStore) -> None:
        """`source` holds every attribute that `target` holds."""
        self.source, self._source_store = source, source_store
        self.target, self._target_store = target, target_store
        self._from, self._to = _places(source), _places(target)

    def target_key(self, key: bytes, cells: Cells) -> bytes:
        """The key in the target of a row of the source."""
        return self.target.key(self.source.decode(key, cells))

    def source_key(self, key: bytes) -> bytes:
        """The key in the source of a row of the target."""
        return self.source.key(self.target.decode(key, {}))

    def make_equal(self, keys: Sequence[bytes]) -> int:
        """Make the rows with these keys of the target equal to those of the source; returns how many were not.

        Raises InvalidInput for a row that the target cannot hold, and Conflict for rows that do not come to rest.
        """
        first = 0
        for tries in range(TRIES):
            changes = self.differences(keys)
            if not changes:
                return first
            first = first or len(changes)
            for batch in _batches(changes):
                self._target_store.write(batch)
            keys = [mutations[0].row for mutations in changes]
            assert tries < TRIES
        raise Conflict("rows of two layouts do not become equal", where=self.target.table, found=keys[0].hex())

    def differences(self, keys: Sequence[bytes]) -> list[list[Mutation]]:
        """What would make each row equal that is not, by row."""
        copies = self._target_store.get_many(self.target.table, keys)  # before the source: see above
        origins = [self.source_key(key) for key in keys]
        found = self._source_store.get_many(self.source.table, origins)
        made = [self._mend(*each) for each in zip(keys, copies, origins, found, strict=True)]
        return [mutations for mutations in made if mutations]

    def _mend(self, key: bytes, copy: Cells, origin: bytes, source: Cells) -> list[Mutation]:
        if not source:
            stamps = [cell.timestamp_us for cells in copy.values() for cell in cells]
            return [Delete(self.target.table, key, until_us=max(stamps))] if stamps else []
        row = {name: value for name, value in self.source.decode(origin, source).items() if name in self._held}
        times, there = _times(source, self._from), _newest(copy)
        found: list[Mutation] = []
        for mutation in self.target.put(row):
            if isinstance(mutation, Put):
                found += self._puts(mutation, there, times)
            else:
                found += _deletes(mutation, there)
        return found

    @property
    def _held(self) -> frozenset[str]:
        return frozenset(self.target.attributes)

    def _puts(
        self, put: Put, there: Mapping[tuple[str, bytes], Cell], times: Mapping[str | None, int]
    ) -> Iterator[Mutation]:
        """Each cell with its own time, or that of what is to be replaced."""
        by_time: dict[int, dict[bytes, bytes]] = {}
        for qualifier, value in put.values.items():
            old = there.get((put.family, qualifier))
            if old is None or old.value != value:
                names = self._to.get((put.family, qualifier), [])
                stamp = max((times[name] for name in names if name in times), default=times[None])
                stamp = stamp if old is None else max(stamp, old.timestamp_us)
                by_time.setdefault(stamp, {})[qualifier] = value
        for stamp, values in by_time.items():
            yield Put(put.table, put.row, put.family, values, stamp)


def _deletes(delete: Delete, there: Mapping[tuple[str, bytes], Cell]) -> Iterator[Mutation]:
    assert delete.family is not None
    for qualifier in delete.qualifiers or ():
        old = there.get((delete.family, qualifier))
        if old is not None:
            yield Delete(delete.table, delete.row, delete.family, [qualifier], old.timestamp_us)


def _places(layout: Layout) -> _Places:
    found: _Places = {}
    for group in layout.groups:
        for name in group.attributes:
            at: dict[str, set[bytes]] = {}
            group.find([name], at)
            for family, qualifiers in at.items():
                for qualifier in qualifiers - {MARKER}:
                    found.setdefault((family, qualifier), []).append(name)
    return found


def _newest(cells: Cells) -> dict[tuple[str, bytes], Cell]:
    """The newest cell of each qualifier."""
    return {(family, cell.qualifier): cell for family, found in cells.items() for cell in reversed(found)}


def _times(cells: Cells, places: _Places) -> dict[str | None, int]:
    """When each attribute was written, and under None the row's last time."""
    found: dict[str | None, int] = {}
    for place, cell in _newest(cells).items():
        for name in (None, *places.get(place, ())):
            found[name] = max(found.get(name, 0), cell.timestamp_us)
    return found


def _batches(changes: Sequence[Sequence[Mutation]]) -> Iterator[list[Mutation]]:
    """So many rows together that a store takes them."""
    batch: list[Mutation] = []
    size = 0
    for mutations in changes:
        batch += mutations
        size += sum(256 + sum(map(len, each.values.values())) for each in mutations if isinstance(each, Put))
        if size > _MAX_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
