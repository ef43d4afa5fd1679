"""Where the values of one read come from: rows of one layout, found by the keys of an entity, as compiled functions.

A source finds a row by its key, in bytes: a whole row key, or the beginning that the rows of one entity share, of which
the newest is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

import msgspec

from kaname.errors import CorruptData, InvalidInput
from kaname.features.codecs import UNREADABLE
from kaname.features.groups import MARKER
from kaname.features.layout import Layout
from kaname.features.parts import write_parts
from kaname.features.ranges import following
from kaname.features.types import Row as Entity
from kaname.features.views.types import Feature, Read
from kaname.storage.cells.prefix import after
from kaname.storage.cells.types import Cells, CellStore, Columns, Range, Row

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(0, 0, 1)
Times: TypeAlias = dict[tuple[str, bytes], int]
VALUE_BYTES = 60
"""What a value takes with its time, of those below without what is in it."""
BYTES_OF: dict[str, Callable[[Any], int]] = {
    "string": len,
    "bytes": len,
    "vector": lambda numbers: 32 * len(numbers),
    "json": lambda value: 8 * len(msgspec.json.encode(value)),
}


class Fetched(NamedTuple):
    """What a row holds of a source's features."""

    values: tuple[Any, ...]
    """In their order; None: null."""
    stamps: tuple[int, ...]
    """When each value was true (µs since 1970); empty where nobody asks."""


class Source:
    """Reads some features of one read from one layout. Blocks; may be used by several threads."""

    def __init__(self, read: Read, features: Sequence[Feature], layout: Layout, store: CellStore) -> None:
        """`layout` holds all of `features`, and of a newest row it is `checking.ordered`."""
        self.read_of = read
        self.features = tuple(features)
        self.layout = layout
        self.store = store
        self._table, self._is_newest = layout.table, read.latest is not None
        self.names = tuple(feature.name for feature in features)
        self.aged = any(feature.max_age_us is not None for feature in features)
        attributes = tuple(feature.attribute for feature in features)
        self._pick = _picker(attributes)
        self._groups = [g.only(attributes) for g in layout.groups if {*g.attributes}.intersection(attributes)]
        self._empty: dict[str, object] = dict.fromkeys(attributes)
        self._columns = self._wanted(attributes)
        cells_of = [self._cell_of(name) for name in attributes]
        self._cells = list(dict.fromkeys(cells_of))
        self._spread = _picker([self._cells.index(cell) for cell in cells_of])
        self._long = [
            (at, BYTES_OF[feature.type.name])
            for at, feature in enumerate(self.features)
            if feature.type.name in BYTES_OF
        ]
        self._renamed = None if all(name == entity for name, entity in read.key.items()) else read.key
        if read.latest is not None:
            self._compile_latest()

    def key(self, entity: Entity) -> bytes:
        """The key of an entity. Raises InvalidInput with the entity key as `where`."""
        try:
            row = entity if self._renamed is None else {name: entity[said] for name, said in self._renamed.items()}
            return write_parts(self._leading, row) if self.read_of.latest is not None else self.layout.key(row)
        except InvalidInput as error:
            name = str(error.where).rpartition(".")[2]
            where = f"entity.{self.read_of.key.get(name, name)}"
            raise InvalidInput(error.message, where=where, found=error.found, expected=error.expected) from None

    def fetch(self, keys: Sequence[bytes], now_us: int, *, stamped: bool) -> list[Fetched | None]:
        """The rows of these keys in their order, as of `now_us`; None: there is none. Raises what the store raises."""
        return [None if row is None else self.decode(row, stamped=stamped) for row in self.read(keys, now_us)]

    def fetch_one(self, key: bytes, now_us: int, *, stamped: bool) -> Fetched | None:
        """The same for one key."""
        row = self._one(key, now_us)
        return None if row is None else self.decode(row, stamped=stamped)

    def read(self, keys: Sequence[bytes], now_us: int) -> list[Row | None]:
        """The same, not yet decoded."""
        if self._is_newest:
            return self._newest(keys, now_us)
        if len(keys) == 1:
            return [self._one(keys[0], now_us)]
        found = self.store.get_many(self.layout.table, keys, self._columns)
        return [Row(key, cells) if cells else None for key, cells in zip(keys, found, strict=True)]

    def decode(self, row: Row, *, stamped: bool) -> Fetched:
        """The values of a row; `stamped`: with their times. Raises CorruptData."""
        values = self._empty.copy()
        try:
            for group in self._groups:
                group.read(row.cells, values)
            if self.read_of.latest is not None:
                return self._timed(row.key, values)
        except UNREADABLE as error:
            where = f"{self.layout.table}[{row.key.hex()}]"
            raise CorruptData(f"not a row of schema `{self.layout.name}`: {error}", where=where) from error
        return Fetched(self._pick(values), self._stamps(row.cells) if stamped else ())

    def _stamps(self, cells: Cells) -> tuple[int, ...]:
        times: Times = {}
        for family, some in cells.items():
            for cell in reversed(some):  # the newest comes first
                times[family, cell.qualifier] = cell.timestamp_us
        return self._spread([times.get(cell, 0) for cell in self._cells])

    def size(self, row: Fetched) -> int:
        """About how many bytes a row takes."""
        values = row.values
        long = [bytes_of(values[at]) for at, bytes_of in self._long if values[at] is not None]
        return VALUE_BYTES * len(values) + sum(long)

    def _wanted(self, attributes: Sequence[str]) -> Columns | None:
        """The cells to read; None (all) where that is nearly the same, since whole rows are cheaper to read."""
        if self.read_of.latest is not None:
            return self.layout.columns_of_rows(attributes)
        held = len(self.layout.attributes) - len(self.layout.relation.key)
        return None if held <= 2 * len(attributes) else self.layout.columns(attributes)

    def _cell_of(self, attribute: str) -> tuple[str, bytes]:
        """The cell that holds an attribute."""
        for group in self._groups:
            if attribute in group.attributes:
                found: dict[str, set[bytes]] = {}
                group.find([attribute], found)
                return next(
                    (family, qualifier) for family, some in found.items() for qualifier in some if qualifier != MARKER
                )
        return "", b""  # of the key

    def _one(self, key: bytes, now_us: int) -> Row | None:
        if self._is_newest:
            return self._newest((key,), now_us)[0]
        cells = self.store.get(self._table, key, self._columns)
        return Row(key, cells) if cells else None

    # --- the newest row -----------------------------------------------------------------------------------

    def _compile_latest(self) -> None:
        """The row key is: parts of the entity, the time, and perhaps hashes."""
        parts = self.layout.row
        leading = following(parts, self.read_of.key)
        self._leading, self._time = parts[:leading], parts[leading]

    def _newest(self, prefixes: Sequence[bytes], now_us: int) -> list[Row | None]:
        ranges = [self._range(prefix, now_us) for prefix in prefixes]
        return self.store.get_first(self._table, ranges, self._columns, reverse=not self._time.desc)

    def _range(self, prefix: bytes, now_us: int) -> Range:
        """The rows that begin so and are not in the future."""
        bound = prefix + self._time.write(_EPOCH + timedelta(0, 0, now_us))
        return (bound, after(prefix)) if self._time.desc else (prefix, after(bound))

    def _timed(self, key: bytes, values: dict[str, object]) -> Fetched:
        """The age of a newest row is that of the time in its key, which may be asked for, too."""
        at = 0
        for part in self._leading:
            _, at = part.take(key, at)
        time, _ = self._time.take(key, at)
        assert isinstance(time, datetime)
        if self.read_of.latest in values:
            values[self.read_of.latest] = time
        return Fetched(self._pick(values), ((time - _EPOCH) // _MICROSECOND,) * len(self.features))


def _picker(keys: Sequence[Any]) -> Callable[[Any], tuple[Any, ...]]:
    """Takes the items of these keys or positions out of a mapping or a sequence."""
    pick: Any = itemgetter(*keys)
    return pick if len(keys) > 1 else lambda found: (pick(found),)
