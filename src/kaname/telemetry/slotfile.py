"""One worker's numbers in a memory-mapped file: an append-only directory of series with their cells.

Layout, all little-endian and aligned to 8 bytes::

    magic (8 bytes) | used (uint64: bytes of valid content) | record | record | …
    record = description length (uint32), cells (uint32), description (JSON, padded to 8 bytes), cells (float64 each)

`used` is written last, so a process killed while it adds a series leaves the file as it was. A cell is one aligned
8-byte store: a reader sees the old or the new number. The file outlives its process; the next owner of the slot goes
on counting where the last one stopped. A series whose first cell is NaN is not there: nobody counts it any more, and
the next owner may put another one of the same size in its place.
"""

from __future__ import annotations

import fcntl
import math
import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from kaname.errors import Conflict

MAGIC = b"KANAMET1"
HEADER_BYTES = 16
CHUNK_BYTES = 64 * 1024

Kind = Literal["counter", "gauge", "histogram"]
Policy = Literal["sum", "max"]


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """What a series is: its metric, its labels in order, and how slots are merged.

    `bounds` are the upper bounds of a histogram's finite buckets, rising. `policy` is how a gauge's values of several
    slots become one. A counter and a gauge have one cell; a histogram one per bucket, one for +Inf and one for the sum.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[tuple[str, str], ...] = ()
    bounds: tuple[float, ...] = ()
    policy: Policy = "sum"

    @property
    def cells(self) -> int:
        """How many cells the series has."""
        return len(self.bounds) + 2 if self.kind == "histogram" else 1


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Series).decode


def slot_path(folder: Path, slot: int) -> Path:
    """The file of `slot` in `folder`."""
    return folder / f"slot-{slot:03d}.metrics"


def slot_of(path: Path) -> int | None:
    """The slot whose file `path` is, or None if it is none."""
    number = path.name.removeprefix("slot-").removesuffix(".metrics")
    return int(number) if path.suffix == ".metrics" and number.isdecimal() else None


def scan(content: bytes | memoryview) -> Iterator[tuple[Series, int]]:
    """Every series in `content` with the offset of its cells; stops where a record does not fit in."""
    if len(content) < HEADER_BYTES or content[:8] != MAGIC:
        return
    end = min(int.from_bytes(content[8:16], "little"), len(content))
    at = HEADER_BYTES
    while at + 8 <= end:
        length, cells = struct.unpack_from("<II", content, at)
        start = at + 8 + _padded(length)
        at = start + 8 * cells
        if at > end:
            return
        try:
            series = _decode(content[start - _padded(length) : start - _padded(length) + length])
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue  # damaged, or just being put in the place of another
        if series.cells == cells:
            yield series, start


class SlotFile:
    """The file of one slot, open for its only writer.

    Raises Conflict if another process (or another object in this one) owns the slot. A file that is damaged is begun
    anew: numbers about the past are not worth a refusal to start.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._fd)
            raise Conflict("another process writes these metrics", where=str(path)) from None
        self._map: mmap.mmap | None = None
        self._bytes = memoryview(b"")
        self._resize(max(CHUNK_BYTES, os.fstat(self._fd).st_size))
        self._free: dict[tuple[int, int], list[int]] = {}
        self.found: dict[Series, memoryview[float]] = {}
        for series, at in self._read():
            cells = self._cells(at, series.cells)
            if math.isnan(cells[0]):
                self._free.setdefault(_shape(_encode(series), series), []).append(at)
            else:
                self.found[series] = cells

    def _read(self) -> list[tuple[Series, int]]:
        found = list(scan(self._bytes))
        if found:
            last, at = found[-1]
            used = at + 8 * last.cells
        else:
            used = HEADER_BYTES
        self._bytes[:8] = MAGIC
        self._set_used(used)
        return found

    def append(self, series: Series, initial: float = 0.0) -> memoryview[float]:
        """Add `series`; returns its cells (float64), which stay valid while the file grows."""
        text = _encode(series)
        free = self._free.get(_shape(text, series))
        if free:
            return self._replace(free.pop(), text, series, initial)
        at = self._used
        start = at + 8 + _padded(len(text))
        end = start + 8 * series.cells
        if end > len(self._bytes):
            self._resize(max(2 * len(self._bytes), -(-end // CHUNK_BYTES) * CHUNK_BYTES))
        struct.pack_into("<II", self._bytes, at, len(text), series.cells)
        self._bytes[at + 8 : at + 8 + len(text)] = text
        struct.pack_into(f"<{series.cells}d", self._bytes, start, *[initial] * series.cells)
        self._set_used(end)
        return self._cells(start, series.cells)

    def _replace(self, start: int, text: bytes, series: Series, initial: float) -> memoryview[float]:
        at = start - _padded(len(text))
        self._bytes[at - 8 : at - 4] = len(text).to_bytes(4, "little")
        self._bytes[at : at + len(text)] = text
        struct.pack_into(f"<{series.cells}d", self._bytes, start, *[initial] * series.cells)
        return self._cells(start, series.cells)

    def close(self) -> None:
        """Give the slot back; cells handed out still work but no longer belong to anyone."""
        if self._fd >= 0:
            fcntl.flock(self._fd, fcntl.LOCK_UN)
            os.close(self._fd)
            self._fd = -1

    def _set_used(self, used: int) -> None:
        self._used = used
        self._bytes[8:16] = used.to_bytes(8, "little")

    def _resize(self, size: int) -> None:
        """Map the file at its new size; cells of the old mapping show the same pages and stay good."""
        os.ftruncate(self._fd, size)
        self._map = mmap.mmap(self._fd, size)
        self._bytes = memoryview(self._map)

    def _cells(self, start: int, count: int) -> memoryview[float]:
        return self._bytes[start : start + 8 * count].cast("d")


def _shape(text: bytes, series: Series) -> tuple[int, int]:
    """What two series must share for one to take the other's place."""
    return _padded(len(text)), series.cells


def _padded(length: int) -> int:
    return (length + 7) & ~7
