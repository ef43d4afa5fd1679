"""Cells: (table, row, family, qualifier, timestamp) -> value, ordered by row; all of them bytes but names and times.

A Protocol of bytes: what a row or a value means is the business of the codecs above it. What every store guarantees:

- A batch is durable when `write` returns: it outlives the death of any process and the loss of power. One that raised
  Unavailable or DeadlineExceeded may have happened or not, in part where the store cannot write all rows at once; to
  write it again is safe, and changes nothing when it had happened, if its mutations carry timestamps.
- Who writes and then reads, in any process, reads what was written. The mutations of a batch apply in their order.
- A row is read as it was at one moment; a scan is read in pages, each of them at one moment.
- Rows are ordered by their bytes, the cells of a family by qualifier, and then from the newest to the oldest.
- A cell that is put twice with one timestamp has the value that was put last. Of a qualifier the newest
  `Family.versions` cells are seen, of them those younger than `Family.ttl_s`; everything else is gone, whenever the
  store gets around to giving its space back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol, TypeAlias

import msgspec

MAX_ROW_BYTES = 500
MAX_VALUE_BYTES = 8 * 1024 * 1024
MAX_BATCH_BYTES = 32 * 1024 * 1024
"""Rows, qualifiers and values of a `write`, and for each mutation `MUTATION_BYTES`, for each cell `CELL_BYTES` more."""
MUTATION_BYTES = 128
CELL_BYTES = 10


class Family(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept of the cells of a family."""

    ttl_s: float | None = None
    """A cell is seen until so many seconds after its timestamp; None: for ever."""
    versions: int = 1
    """So many cells of a qualifier are kept, the newest."""


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table and its families. Names: a letter or `_`, then letters, digits and `_`, 48 in all at most."""

    name: str
    families: dict[str, Family]
    lead_bytes: int = 0
    """Rows that begin alike, with so many bytes, lie together where a store spreads rows. What is said first counts."""


class Cell(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One value as read, and when it was true (µs since epoch)."""

    qualifier: bytes
    timestamp_us: int
    value: bytes


Cells: TypeAlias = dict[str, list[Cell]]
"""Cells by family, ordered by qualifier, the newest first; a family without cells is absent, so no cells is no row."""

Columns: TypeAlias = Mapping[str, Collection[bytes] | None]
"""What to read: families, and of each the qualifiers (exact ones; None: all)."""
Range: TypeAlias = tuple[bytes, bytes | None]
"""Rows from a key to before another one (None: to the end)."""


class Row(msgspec.Struct, frozen=True):
    """A row of a scan."""

    key: bytes
    cells: Cells


class Put(msgspec.Struct, frozen=True, tag="put", array_like=True, gc=False):
    """Cells of one row and family to write: values by qualifier, which may be empty, all with one timestamp."""

    table: str
    row: bytes
    """1 to `MAX_ROW_BYTES` bytes."""
    family: str
    values: dict[bytes, bytes]
    timestamp_us: int | None = None
    """µs since epoch, 0 or more; None: now."""


class Delete(msgspec.Struct, frozen=True, tag="delete", array_like=True, gc=False):
    """Cells of a row to delete: those of all families, of one, or of some of its qualifiers.

    It takes what is there and not newer than `until_us`. A cell put afterwards is seen if it is newer than that; an
    older one may or may not be.
    """

    table: str
    row: bytes
    family: str | None = None
    qualifiers: list[bytes] | None = None
    """None: all; only with `family`."""
    until_us: int | None = None
    """µs since epoch; None: now."""


Mutation: TypeAlias = Put | Delete


class CellReader(Protocol):
    """Reads rows. Blocks; safe to call from several threads.

    Raises NotFound for a table or family that was not defined, InvalidInput, Unavailable or DeadlineExceeded when
    the store does not answer, CorruptData.
    """

    def get(self, table: str, row: bytes, columns: Columns | None = None, *, versions: int = 1) -> Cells:
        """Of one row the cells in `columns` (None: all), up to `versions` of each qualifier."""

    def get_many(
        self, table: str, rows: Sequence[bytes], columns: Columns | None = None, *, versions: int = 1
    ) -> list[Cells]:
        """The same of many rows, in their order; cheaper than one by one."""

    def get_first(
        self, table: str, ranges: Sequence[Range], columns: Columns | None = None, *, reverse: bool = False
    ) -> list[Row | None]:
        """Of each range the first row with cells in `columns` (`reverse`: the last), or None; cheaper than scans."""

    def scan(
        self,
        table: str,
        start: bytes = b"",
        stop: bytes | None = None,
        *,
        columns: Columns | None = None,
        limit: int | None = None,
        reverse: bool = False,
        versions: int = 1,
    ) -> Iterator[Row]:
        """Rows with cells in `columns`, `start` <= key < `stop` (None: to the end), at most `limit` of them; with
        `reverse` from the last to the first. A row that changes meanwhile comes once at most."""


class CellWriter(Protocol):
    """Writes batches. Blocks for a bounded time; safe to call from several threads."""

    def write(self, mutations: Sequence[Mutation]) -> None:
        """Apply the mutations and return when they are durable.

        Raises NotFound, InvalidInput and TooLarge, before anything was written, and Unavailable and DeadlineExceeded.
        """


class CellTables(Protocol):
    """Which tables there are. Other processes may take a second to see a change of a table that they know."""

    def define(self, table: Table) -> None:
        """Make the table, or give it these families: new ones are added, known ones changed, none removed."""

    def drop(self, name: str) -> None:
        """Remove a table with all rows; nothing happens when there is none."""

    def tables(self) -> list[Table]:
        """All tables, by name."""


class CellStore(CellReader, CellWriter, CellTables, Protocol):
    """All of it."""

    def close(self) -> None:
        """Let go of what was opened; the store is not used afterwards."""
