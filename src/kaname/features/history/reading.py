"""Reads the history of a relation, in the order in which its writes became known."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from kaname.errors import CorruptData
from kaname.features.codecs import UNREADABLE
from kaname.features.history.forms import MARK_BYTES, Form, form_of
from kaname.features.history.recording import (
    FORMS,
    FORMS_ROW,
    KINDS,
    MASK,
    SPREAD,
    WRITES,
    Kind,
    Recorder,
    time_bytes,
    time_in,
)
from kaname.storage.cells.prefix import after
from kaname.storage.cells.types import CellReader, Row

_KINDS = {code: kind for kind, code in KINDS.items()}


class Change(NamedTuple):
    """One write."""

    at_us: int
    """When it became known: µs since 1970."""
    kind: Kind
    row: dict[str, object]
    """Its attributes; of an update those that are not in `named` are null, of a delete those off the key."""
    named: frozenset[str] | None
    """Of an update: the attributes that it wrote; of others None."""


def changes(recorder: Recorder, store: CellReader, start_us: int, stop_us: int) -> Iterator[Change]:
    """The writes that became known at `start_us` or later, before `stop_us`; of one moment in any order.

    Writes that come meanwhile may be among them. Raises CorruptData, and what the store raises.
    """
    forms = _Forms(recorder, store)
    bounds = [(bytes([i]) + time_bytes(start_us), bytes([i]) + time_bytes(stop_us)) for i in range(SPREAD)]
    table, columns = recorder.table.name, {WRITES: None}
    parts = [store.scan(table, start, stop, columns=columns) for start, stop in bounds if start < stop]
    for row in heapq.merge(*parts, key=lambda row: row.key[1:9]):
        yield forms.change(row)


class _Forms:
    """The forms in which rows were kept, each with what the present schema still knows of it."""

    def __init__(self, recorder: Recorder, store: CellReader) -> None:
        self._table, self._store = recorder.table.name, store
        self._now = {attribute.name: attribute.type for attribute in recorder.form.attributes}
        self._form = recorder.form
        self._others: dict[bytes, Form] = {}

    def change(self, row: Row) -> Change:
        mask, packs, qualifier = b"", list[bytes](), b""
        for cell in row.cells[WRITES]:
            if cell.qualifier == MASK:
                mask = cell.value
            else:
                qualifier = cell.qualifier
                packs.append(cell.value)
        try:
            kind, mark = _KINDS[qualifier[:1]], qualifier[1 : 1 + MARK_BYTES]
            form = self._form if mark == self._form.mark else self._other(mark)
            found = form.read(packs)
            named = form.named(mask) if kind == "update" else None
        except (KeyError, *UNREADABLE) as error:
            raise CorruptData(f"not a write: {error}", where=f"{self._table}[{row.key.hex()}]") from error
        if form is not self._form:
            found = self._present(form, found)
        return Change(time_in(row.key), kind, found, named)

    def _other(self, mark: bytes) -> Form:
        """A form of before. Raises KeyError for one that is not known."""
        if mark not in self._others:
            for row in self._store.scan(self._table, FORMS_ROW, after(FORMS_ROW)):
                self._others[row.key[1:]] = form_of(row.cells[FORMS][0].value)
        return self._others[mark]

    def _present(self, form: Form, row: Mapping[str, object]) -> dict[str, object]:
        """The attributes that are there still, of the same type; the others are null."""
        same = {each.name for each in form.attributes if self._now.get(each.name) == each.type}
        return {name: row[name] if name in same else None for name in self._now}
