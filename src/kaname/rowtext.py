"""Where rows of text end: lines, or those of CSV, in which a line end may stand between quotes."""

from __future__ import annotations

BOM = b"\xef\xbb\xbf"
"""With which some programs begin UTF-8."""


def whole_rows(data: bytes, *, quoted: bool) -> int:
    """Length of the whole rows that `data` begins with; 0 when the first one is not whole.

    `quoted`: a newline between double quotes belongs to the row (RFC 4180, where a quote inside is doubled, so that
    the number of quotes before a row's end is even).
    """
    end = data.rfind(b"\n") + 1
    if not quoted or not end:
        return end
    odd = data.count(b'"', 0, end) % 2
    while end and odd:
        before = data.rfind(b"\n", 0, end - 1) + 1
        odd = (odd + data.count(b'"', before, end)) % 2
        end = before
    return end


def first_row(data: bytes, odd: int, *, quoted: bool) -> tuple[int, int]:
    """Length of the first row in `data`, 0 when it ends later; and whether the quotes so far are odd in number, of
    which `odd` came before."""
    start = 0
    while True:
        end = data.find(b"\n", start) + 1
        stop = end or len(data)
        if quoted:
            odd = (odd + data.count(b'"', start, stop)) % 2
        if not end or not odd:
            return end, odd
        start = end
