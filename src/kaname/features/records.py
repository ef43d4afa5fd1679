"""What the bytes of a relation's rows mean, written down in the stores that hold them.

Beside the rows, not in the control plane: who copies a store copies the record; nodes that share a server share it, and
each node has its own for an embedded store; and writing rows needs no other server than the one that keeps them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from kaname.clock import Clock
from kaname.errors import CorruptData, NotFound
from kaname.features.facts import LayoutFacts, relation_text
from kaname.features.layout import StoreName
from kaname.features.types import Relation
from kaname.storage.cells.types import Cell, Cells, CellStore, Family, Put, Table

TABLE = "kaname_schemas"
FAMILY = "s"
TAKEN_BACK_S = 0.3
"""So long after a relation could be seen to be another one, whoever made it so has taken that back if it had rows."""
_RECORD, _MARK, _MARK_ROW = b"record", b"mark", b"\0"

Role = Literal["kept", "filling", "leaving"]
"""Rows of a layout: all of them, read and written; written, to be read when the old ones are there; written, read no
longer."""
Step = Literal["fill", "switch", "drop", "abort"]


class KeptLayout(msgspec.Struct, frozen=True, omit_defaults=True):
    """A layout in use."""

    facts: LayoutFacts
    role: Role = "kept"
    left: dict[str, str] = {}
    """Cells (`family:qualifier`) of attributes that were removed, and the types of the values in them."""
    later: tuple[str, ...] = ()
    """Attributes that came to cells of their own when there may have been rows."""


class Relayout(msgspec.Struct, frozen=True, omit_defaults=True):
    """A change of layouts under way; see `relayout`."""

    target: LayoutFacts
    drops: tuple[LayoutFacts, ...]
    """What the new one takes the place of."""
    step: Step = "fill"


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """A relation and its layouts in use."""

    version: int
    """Rises with every change."""
    relation: Relation
    layouts: tuple[KeptLayout, ...]
    home: StoreName
    """Where its history is, if it has one: in the store that was the first layout's when it was recorded first."""
    relayout: Relayout | None = None
    origin: int = 0
    """The version since which stored bytes mean what they do. It became another relation with that one, because there
    were no rows; a write as of an earlier one must not stay."""

    @property
    def stores(self) -> list[StoreName]:
        """Those that hold rows of it, or will, or did until a moment ago."""
        others = () if self.relayout is None else (self.relayout.target, *self.relayout.drops)
        layouts = (*(kept.facts for kept in self.layouts), *others)
        return list(dict.fromkeys((self.home, *(each.store for each in layouts))))

    def text(self) -> str:
        """It as a schema file; of two layouts with one name, as a relayout may bring, the later one gets a number."""
        texts, names = [relation_text(self.relation)], set[str]()
        for number, kept in enumerate(self.layouts, 1):
            facts = kept.facts
            if facts.name.lower() in names:
                facts = msgspec.structs.replace(facts, name=f"{facts.name[:44]}_{number}")
            names.add(facts.name.lower())
            texts.append(facts.text(self.relation.name))
        return "".join(texts)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Record).decode

Mark = Cell | None
"""Differs when a record of the store may have changed."""


class Records:
    """The records in the stores of a project."""

    def __init__(self, store: Callable[[StoreName], CellStore], clock: Clock) -> None:
        """`store` opens one, or returns the one that is open."""
        self._store = store
        self._clock = clock

    def find(self, relation: str, stores: Iterable[StoreName]) -> Record | None:
        """The newest record in these stores and those that it names; None: nothing was ever written."""
        asked, newest = set[StoreName](), None
        left = list(stores)
        while left:
            name = left.pop()
            if name in asked:
                continue
            asked.add(name)
            found = _record(_read(self._store(name), relation.encode()), relation)
            if found is not None and (newest is None or found.version > newest.version):
                newest = found
                left += found.stores
        return newest

    def newer(self, than: Record) -> Record | None:
        """The newest record of a relation, if it is newer than this. One of another relation of that name counts when
        whoever published it has had time to find rows and take it back: nobody may write as of it before."""
        found = self.find(than.relation.name, than.stores)
        if found is not None and found.origin != than.origin:
            time.sleep(TAKEN_BACK_S)
            found = self.find(than.relation.name, than.stores)
        return found if found is not None and found.version > than.version else None

    def all(self, store: StoreName) -> list[Record]:
        """The records in one store, by the name of the relation."""
        try:
            rows = list(self._store(store).scan(TABLE, b"\1"))
        except NotFound:
            return []
        return [record for row in rows if (record := _record(row.cells, repr(row.key))) is not None]

    def mark(self, store: StoreName) -> Mark:
        """What to compare later; cheap."""
        return _cell(_read(self._store(store), _MARK_ROW), _MARK)

    def publish(self, record: Record, also: Iterable[StoreName] = ()) -> None:
        """Write a record to all stores that it names, and to others that had it; those who look at marks see it.

        One process at a time. Where it is cut short the newest is found by those that see it, and published again by
        who goes on.
        """
        for name in dict.fromkeys((*also, *record.stores)):
            store = self._store(name)
            if all(table.name != TABLE for table in store.tables()):
                store.define(Table(TABLE, {FAMILY: Family()}))
            key = record.relation.name.encode()
            self._put(store, key, _RECORD, _encode(record))
            self._put(store, _MARK_ROW, _MARK, key + b" %d" % record.version)

    def _put(self, store: CellStore, row: bytes, qualifier: bytes, value: bytes) -> None:
        """Over what is there, also when it was written by a clock that is ahead of this one."""
        old = _cell(_read(store, row), qualifier)
        now_us = self._clock.time_ns() // 1000
        stamp = now_us if old is None else max(now_us, old.timestamp_us + 1)
        store.write([Put(TABLE, row, FAMILY, {qualifier: value}, stamp)])


def _read(store: CellStore, row: bytes) -> Cells:
    try:
        return store.get(TABLE, row)
    except NotFound:  # nothing was recorded there yet
        return {}


def _cell(cells: Cells, qualifier: bytes) -> Cell | None:
    return next((cell for cell in cells.get(FAMILY, ()) if cell.qualifier == qualifier), None)


def _record(cells: Cells, where: str) -> Record | None:
    cell = _cell(cells, _RECORD)
    if cell is None:
        return None
    try:
        return _decode(cell.value)
    except msgspec.MsgspecError as error:
        raise CorruptData(f"the record of a relation cannot be read: {error}", where=f"{TABLE}[{where}]") from error
