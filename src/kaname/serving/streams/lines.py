"""Lines out of the pieces in which a body arrives."""

from __future__ import annotations

from collections.abc import Iterator


class Lines:
    """Newline-delimited lines of at most `most` bytes. Holds no more than one line of them, however long it is sent."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._part = bytearray()
        self._skipping = False

    def feed(self, piece: bytes) -> Iterator[bytes | None]:
        """The lines that end in `piece`, without white space around them; None for each that is too long, as soon as
        that is known. Empty lines are left out."""
        *ended, rest = piece.split(b"\n")
        for part in ended:
            yield from self._more(part)
            line, self._part = bytes(self._part).strip(), bytearray()
            if not self._skipping and line:
                yield line
            self._skipping = False
        yield from self._more(rest)

    def end(self) -> Iterator[bytes]:
        """The last line, when nothing ended it."""
        line, self._part = bytes(self._part).strip(), bytearray()
        if line and not self._skipping:
            yield line

    def _more(self, part: bytes) -> Iterator[None]:
        if self._skipping:
            return
        if len(self._part) + len(part) > self._most:
            self._skipping = True
            self._part = bytearray()
            yield None
        else:
            self._part += part
