"""A walk through one partition in the order of its rows, a page at a time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from typing import TypeAlias

from kaname.storage.cells.cassandra.driver import Answer
from kaname.storage.cells.cassandra.rows import Asked, Rows, found_in
from kaname.storage.cells.cassandra.values import Found

FIRST_CELLS = 200
FEW_CELLS = 32
"""So many are asked for first where one row is wanted."""
LEAST_CELLS, MOST_CELLS = 16, 5_000
PAGE_BYTES = 2 * 1024 * 1024
"""About how much is read at once, once it is known how large cells are."""

Walked: TypeAlias = tuple[bytes, list[Found]]
"""A row, and what lies there."""
row_of = itemgetter(0)


class Walk:
    """Asks for its first page at once: walks through many partitions begin side by side."""

    def __init__(
        self,
        rows: Rows,
        asked: Asked,
        bucket: int,
        start: bytes,
        stop: bytes,
        *,
        reverse: bool,
        ahead: bool = False,
        cells: int = FIRST_CELLS,
    ) -> None:
        """`ahead`: ask for the next page before the last one is used, because all will be. `cells`: how many first."""
        self._rows = rows
        self._asked = asked
        self._bucket = bucket
        self._start = start
        self._stop = stop
        self._reverse = reverse
        self._ahead = ahead
        self._most = cells
        self._next = self._ask()

    def __iter__(self) -> Iterator[Walked]:
        more = True
        while more:
            page, more = self._page()
            if more and self._ahead:
                self._next = self._ask()
            yield from page
            if more and not self._ahead:
                self._next = self._ask()

    def _ask(self) -> Answer:
        return self._rows.page(self._asked, self._bucket, self._start, self._stop, self._reverse, self._most)

    def _page(self) -> tuple[list[Walked], bool]:
        """Whole rows only, and whether there may be more: the last one of a full page goes on behind it."""
        found = found_in(self._next)
        page = [(key, list(cells)[:: -1 if self._reverse else 1]) for key, cells in groupby(found, row_of)]
        if len(found) < self._most:
            return page, False
        key = page[-1][0]
        if len(page) == 1:
            page = list(self._rows.lying(self._asked, [key]).items())
        else:
            page.pop()
            key = page[-1][0]
        self._start, self._stop = (self._start, key) if self._reverse else (key + b"\0", self._stop)
        cell_bytes = 1 + sum(len(cell[-1]) for cell in found) // len(found)
        self._most = max(LEAST_CELLS, min(MOST_CELLS, PAGE_BYTES // cell_bytes))
        return page, True
