"""Rows of text into a relation, in pieces of bounded size."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from kaname.errors import InvalidInput, TooLarge
from kaname.features.bulk.loading import insert_columns
from kaname.features.history.moments import Known
from kaname.features.stored import StoredRelation
from kaname.features.types import Attribute, Relation, Type
from kaname.rowtext import whole_rows

PIECE_BYTES = 1024 * 1024
"""Rows are read and written so many together."""
MOST_ROW_BYTES = 16 * 1024 * 1024

_ROW = re.compile(r"^rows\[(\d+)\]")


class Piece(NamedTuple):
    """Some rows that follow each other."""

    lines: Sequence[int]
    """Of each the line on which it begins."""
    columns: Callable[[], dict[str, list[object]]]
    """Their values by attribute, None for null. Raises InvalidInput with `rows[i].attribute`."""


class Form(Protocol):
    """How rows are written. One text each."""

    @property
    def quoted(self) -> bool:
        """Whether a line end between quotes ends no row."""

    def piece(self, text: bytes, line: int) -> Piece:
        """The rows of some text that begins at a line. Raises InvalidInput with `line 3`."""


class Insertion:
    """Writes rows as they come, in one batch after the other: what was written stays when a later row is bad.

    Not thread-safe; `feed` and `finish` block until what they write is durable.
    """

    def __init__(self, relation: StoredRelation, form: Form, at: Known | None = None) -> None:
        """`at`: see `loading.load`."""
        self._relation = relation
        self._form = form
        self._at = at
        self._pending: list[bytes] = []
        self._size = 0
        self._lines = 0
        self.written = 0
        """Rows so far."""

    def feed(self, data: bytes) -> None:
        """Take some bytes. Raises InvalidInput for a bad row, `where` names it as `line 3` with its attribute."""
        self._pending.append(data)
        self._size += len(data)
        if self._size >= PIECE_BYTES:
            text = b"".join(self._pending)
            end = whole_rows(text, quoted=self._form.quoted)
            if len(text) - end > MOST_ROW_BYTES:
                line = self._lines + text.count(b"\n", 0, end) + 1
                raise TooLarge("a row is too long", where=f"line {line}", expected=f"at most {MOST_ROW_BYTES} bytes")
            self._pending, self._size = [text[end:]], len(text) - end if end else 0
            self._write(text[:end])

    def finish(self) -> int:
        """Write what is left; returns how many rows there were."""
        self._write(b"".join(self._pending))
        self._pending = []
        return self.written

    def _write(self, text: bytes) -> None:
        lines: Sequence[int] = ()
        try:
            lines, columns = self._form.piece(text, self._lines + 1)
            self._lines += text.count(b"\n")
            if lines:
                self.written += insert_columns(self._relation, columns(), self._at)
        except InvalidInput as error:
            raise self._placed(error, lines) from None

    def _placed(self, error: InvalidInput, lines: Sequence[int]) -> InvalidInput:
        match = _ROW.match(error.where or "")
        where = error.where
        if match is not None:
            where = f"line {lines[int(match[1])]}{(error.where or '')[match.end() :]}"
        kept = f"; {self.written} rows before it were written" if self.written else ""
        return InvalidInput(error.message + kept, where=where, found=error.found, expected=error.expected)


def with_moment(relation: Relation, at: Known | None) -> tuple[Attribute, ...]:
    """What rows may have: the attributes, and beside them a moment where `at` names one that is none of these."""
    if not isinstance(at, str) or at in relation.names:
        return relation.attributes
    return (*relation.attributes, Attribute(at, Type("timestamp")))
