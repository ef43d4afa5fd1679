"""Which rows were written lately, for all processes of a node: a number per place, another one after each write.

Who keeps a row remembers the number of its place from before it was read; a row whose place has another number now is
not what is in the store. Rows share places, so that some are read again for nothing; none is kept for too long.
"""

from __future__ import annotations

import mmap
import os
import zlib
from pathlib import Path
from typing import TypeAlias

PLACES = 1 << 16
Place: TypeAlias = int


class Stamps:
    """A file of so many numbers, in the memory of every process that opens it."""

    def __init__(self, path: Path) -> None:
        """The file is made when there is none. Raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            if file.tell() < 8 * PLACES:
                os.truncate(path, 8 * PLACES)
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 8 * PLACES)
        self._numbers = memoryview(self._memory).cast("Q")

    def at(self, place: Place) -> int:
        """The number of a place."""
        return self._numbers[place]

    def renew(self, place: Place) -> None:
        """Rows of this place were written. Numbers come from chance: two processes that write at once need no lock to
        make another one than that of before."""
        self._numbers[place] = int.from_bytes(os.urandom(8), "big")

    def renew_all(self) -> None:
        """Any row may have been written."""
        self._memory[:] = os.urandom(8 * PLACES)

    def close(self) -> None:
        """Let go of the file."""
        self._numbers.release()
        self._memory.close()


def place_of(table: int, key: bytes) -> Place:
    """The place of a row, or of the rows that begin alike; `table` is a number of the table's name."""
    return zlib.crc32(key, table) % PLACES


def number_of(store: str, table: str) -> int:
    """The number of a table in a store."""
    return zlib.crc32(f"{store}/{table}".encode())
