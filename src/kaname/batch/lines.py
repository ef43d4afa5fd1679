"""Cuts a file of lines into blocks of whole rows, at places that do not depend on where reading began."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec

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
    """The blocks of a file from byte `start`, which begins a row.

    `quoted`: a newline between double quotes belongs to the row (RFC 4180, where a quote inside is doubled, so that
    the number of quotes before a row's end is even).
    """
    with path.open("rb") as file:
        file.seek(start)
        at, held, window = start, b"", block_bytes
        while True:
            held += file.read(max(0, window - len(held)))
            if len(held) < window:
                break
            # Of what is held only the window counts: it begins at a row and has the same size whenever it is cut.
            end = _last_row_end(held if len(held) == window else held[:window], quoted=quoted)
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


def _last_row_end(data: bytes, *, quoted: bool) -> int:
    """Length of the whole rows that `data` begins with; 0 when the first one is not whole."""
    end = data.rfind(b"\n") + 1
    if not quoted or not end:
        return end
    odd = data.count(b'"', 0, end) % 2
    while end and odd:
        before = data.rfind(b"\n", 0, end - 1) + 1
        odd = (odd + data.count(b'"', before, end)) % 2
        end = before
    return end


def _skip_row(file: IO[bytes], held: bytes, *, quoted: bool) -> int:
    """Length of the row that `held` begins with and `file` goes on with, to the end of the file if it has none."""
    length, odd = 0, 0
    while held:
        end, odd = _first_row_end(held, odd, quoted=quoted)
        if end:
            return length + end
        length += len(held)
        held = file.read(BLOCK_BYTES)
    return length


def _first_row_end(data: bytes, odd: int, *, quoted: bool) -> tuple[int, int]:
    """Length of the row in `data`, 0 when it ends later; and whether the quotes so far are odd in number."""
    start = 0
    while True:
        end = data.find(b"\n", start) + 1
        stop = end or len(data)
        if quoted:
            odd = (odd + data.count(b'"', start, stop)) % 2
        if not end or not odd:
            return end, odd
        start = end
