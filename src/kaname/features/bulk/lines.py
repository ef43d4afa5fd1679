"""Rows as lines of JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice

import msgspec

from kaname.features.bulk.inserting import Piece, with_moment
from kaname.features.history.moments import Known
from kaname.features.types import Relation, Row
from kaname.features.wire import RowReader, row_reader

ROWS_AT_ONCE = 1000

_encode_lines = msgspec.json.Encoder().encode_lines


class JsonLines:
    """Each line is an object; empty ones are no rows."""

    quoted = False

    def __init__(self, relation: Relation, at: Known | None = None) -> None:
        attributes = with_moment(relation, at)
        whole = attributes == relation.attributes
        self._reader = row_reader(relation) if whole else RowReader(relation, attributes)

    def piece(self, text: bytes, line: int) -> Piece:
        """See `Form`."""
        filled = [(i, one) for i, one in enumerate(text.split(b"\n"), line) if one.strip()]
        return Piece([i for i, _ in filled], partial(self._reader.columns, [one for _, one in filled]))


def pieces(rows: Iterable[Row]) -> Iterator[bytes]:
    """Rows as lines, many together."""
    left = iter(rows)
    while some := list(islice(left, ROWS_AT_ONCE)):
        yield _encode_lines(some)
