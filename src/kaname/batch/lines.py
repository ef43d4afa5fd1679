"""Cuts a file of lines into blocks of whole rows, at places that do not depend on where reading began."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec

from kaname.rowtext import first_row, whole_rows

BLOCK_BYTES = 1024 * 1024
LONGEST_ROW_BYTES = 64 * 1024 * 1024


class Block(msgspec.Struct, frozen=True):
    """Bytes of whole rows; `data` is None for a single row that is too long to be read."""

    data: bytes | None
    after: int
    """Byte of the file behind it."""


def blocks(
    path: Path,
    start: int,
    *,
    quoted: bool,
    block_bytes: int = BLOCK_BYTES,
    longest: int = LONGEST_ROW_BYTES,
) -> Iterator[Block]:
    """The blocks of a file from byte `start`, which begins a row; `quoted`: as `whole_rows`."""
    with path.open("rb") as file:
        file.seek(start)
        at, held, window = start, b"", block_bytes
        while True:
            held += file.read(max(0, window - len(held)))
            if len(held) < window:
                break
            # Of what is held only the window counts: it begins at a row and has the same size whenever it is cut.
            end = whole_rows(held if len(held) == window else held[:window], quoted=quoted)
            if end:
                at += end
                yield Block(held[:end], at)
                held, window = held[end:], block_bytes
                continue
            window *= 2
            if window > longest:
                at += _skip_row(file, held, quoted=quoted)
                yield Block(None, at)
                file.seek(at)
                held, window = b"", block_bytes
        if held:
            yield Block(held, at + len(held))


def _skip_row(file: IO[bytes], held: bytes, *, quoted: bool) -> int:
    """Length of the row that `held` begins with and `file` goes on with, to the end of the file if it has none."""
    length, odd = 0, 0
    while held:
        end, odd = first_row(held, odd, quoted=quoted)
        if end:
            return length + end
        length += len(held)
        held = file.read(BLOCK_BYTES)
    return length
