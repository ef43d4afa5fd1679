"""Where the history of a relation is kept, and what writes it.

A row of its table is one write. Its key: a byte that spreads the rows over a store, the moment (8 bytes that sort), a
hash of the key of what was written. It is written in one batch with the row itself, in the store of the first layout.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from blake3 import blake3

from kaname.features.codecs import codec_of
from kaname.features.history.forms import Form
from kaname.features.types import History, Relation, Row, history_table
from kaname.storage.cells.types import CellStore, Family, Put, Table

Kind: TypeAlias = Literal["insert", "update", "delete"]

WRITES, FORMS = "w", "f"
"""Families: the writes, which may have a time to live, and the forms in which they are kept."""
SPREAD = 16
"""So many ranges, each in the order of time: one alone would have every write at its end, on one server."""
FORMS_ROW = b"\xff"
"""In front of the mark of a form; behind all writes."""
MASK = b"m"
KINDS: dict[Kind, bytes] = {"insert": b"i", "update": b"u", "delete": b"d"}
_KEY_BYTES = 16
_ZERO = 1 << 63


class Recorder:
    """Makes what keeps the writes of one relation."""

    def __init__(self, relation: Relation, history: History) -> None:
        self.relation = relation
        self.table = Table(history_table(relation.name), {WRITES: Family(ttl_s=history.keep_s), FORMS: Family()})
        self.form = Form(relation.attributes)
        self._key = [(attribute.name, codec_of(attribute).write_key) for attribute in relation.key]
        self._qualifiers = {kind: code + self.form.mark for kind, code in KINDS.items()}

    def define(self, store: CellStore) -> None:
        """Make the table, and say in it in which form rows are kept."""
        there = next((table.families for table in store.tables() if table.name == self.table.name), None)
        if there != self.table.families:
            store.define(self.table)
        row = FORMS_ROW + self.form.mark
        if not store.get(self.table.name, row):
            store.write([Put(self.table.name, row, FORMS, {b"": self.form.said})])

    def keep(self, kind: Kind, row: Row, at_us: int) -> Put:
        """What keeps the write of a row that layouts have accepted; of a delete it is the key."""
        known = {name: row[name] for name, _ in self._key} if kind == "delete" else row
        qualifier = self._qualifiers[kind]
        values = {qualifier + bytes([i]): pack for i, pack in enumerate(self.form.write(known))}
        if kind == "update":
            values[MASK] = self.form.mask(row)
        return Put(self.table.name, self._row(row, at_us), WRITES, values, at_us)

    def _row(self, row: Row, at_us: int) -> bytes:
        parts = [write(row[name]) for name, write in self._key]
        key = blake3(b"".join([len(part).to_bytes(4, "big") + part for part in parts])).digest(_KEY_BYTES)
        return bytes([key[0] % SPREAD]) + time_bytes(at_us) + key


def time_bytes(at_us: int) -> bytes:
    """A moment as bytes that sort like it."""
    return (at_us + _ZERO).to_bytes(8, "big")


def time_in(row: bytes) -> int:
    """The moment in the key of a write."""
    return int.from_bytes(row[1:9], "big") - _ZERO
