"""Rows as lines of JSON, in pieces of bounded size."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice

import msgspec

from kaname.errors import InvalidInput, TooLarge
from kaname.features.bulk.loading import insert_columns
from kaname.features.history.moments import Known
from kaname.features.stored import StoredRelation
from kaname.features.types import Attribute, Relation, Row, Type
from kaname.features.wire import RowReader, row_reader

MEDIA_TYPES = ("application/x-ndjson", "application/jsonl", "application/octet-stream")
PIECE_BYTES = 1024 * 1024
"""Lines are read and written so many together."""
ROWS_AT_ONCE = 1000
MOST_LINE_BYTES = 16 * 1024 * 1024

_ROW = re.compile(r"^rows\[(\d+)\]")
_encode_lines = msgspec.json.Encoder().encode_lines


class Insertion:
    """Writes lines as they come, in one batch after the other: what was written stays when a later line is bad.

    Not thread-safe; `feed` and `finish` block until what they write is durable.
    """

    def __init__(self, relation: StoredRelation, at: Known | None = None) -> None:
        """`at`: see `loading.load`."""
        self._relation = relation
        self._at = at
        self._reader = reader_with(relation.relation, at)
        self._pending: list[bytes] = []
        self._size = 0
        self._lines = 0
        self.written = 0
        """Rows so far."""

    def feed(self, data: bytes) -> None:
        """Take some bytes. Raises InvalidInput for a bad line, `where` names it as `line 3` with its attribute."""
        self._pending.append(data)
        self._size += len(data)
        if self._size >= PIECE_BYTES:
            whole, _, rest = b"".join(self._pending).rpartition(b"\n")
            if len(rest) > MOST_LINE_BYTES:
                where = f"line {self._lines + 1}"
                raise TooLarge("a line is too long", where=where, expected=f"at most {MOST_LINE_BYTES} bytes")
            self._pending, self._size = [rest], len(rest) if whole else 0
            self._write(whole)

    def finish(self) -> int:
        """Write what is left; returns how many rows there were."""
        self._write(b"".join(self._pending))
        self._pending = []
        return self.written

    def _write(self, text: bytes) -> None:
        lines = text.split(b"\n")
        filled = [(i, line) for i, line in enumerate(lines, self._lines + 1) if line.strip()]
        self._lines += len(lines) if text else 0
        if not filled:
            return
        try:
            columns = self._reader.columns([line for _, line in filled])
            self.written += insert_columns(self._relation, columns, self._at)
        except InvalidInput as error:
            raise self._placed(error, [number for number, _ in filled]) from None

    def _placed(self, error: InvalidInput, numbers: list[int]) -> InvalidInput:
        match = _ROW.match(error.where or "")
        where = error.where
        if match is not None:
            where = f"line {numbers[int(match[1])]}{(error.where or '')[match.end() :]}"
        kept = f"; {self.written} rows before it were written" if self.written else ""
        return InvalidInput(error.message + kept, where=where, found=error.found, expected=error.expected)


def reader_with(relation: Relation, at: Known | None) -> RowReader:
    """What reads whole rows, and beside them a moment where `at` names one that is no attribute."""
    if not isinstance(at, str) or at in relation.names:
        return row_reader(relation)
    return RowReader(relation, (*relation.attributes, Attribute(at, Type("timestamp"))))


def pieces(rows: Iterable[Row]) -> Iterator[bytes]:
    """Rows as lines, many together."""
    left = iter(rows)
    while some := list(islice(left, ROWS_AT_ONCE)):
        yield _encode_lines(some)
