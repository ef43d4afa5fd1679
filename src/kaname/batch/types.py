"""What a batch run talks about: files and their formats, what is asked of it, how far it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from kaname.arrow import Array, Field
from kaname.errors import InvalidInput
from kaname.tensors import Tensor

Format = Literal["csv", "jsonl", "parquet"]
OnError = Literal["fail", "null", "skip"]
ON_ERROR: tuple[OnError, ...] = ("fail", "null", "skip")
FORMATS: tuple[Format, ...] = ("csv", "jsonl", "parquet")
PURPOSE = "a batch run"

_SUFFIXES: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}

JSON = {b"kaname": b"json"}
"""Marks a column whose text is JSON."""

Position = tuple[int, int]
"""Where a chunk begins: (byte, 0) in a file of lines, (row group, row in it) in a Parquet file."""
START: Position = (0, 0)


def format_of(path: Path) -> Format:
    """The format of a file's ending. Raises InvalidInput when it says nothing."""
    found = _SUFFIXES.get(path.suffix.lower())
    if found is None:
        raise InvalidInput(
            "the format is not known from the file's ending",
            where=str(path),
            found=path.suffix or "no ending",
            expected=", ".join(_SUFFIXES) + ", or the format named",
        )
    return found


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What changes the output: a run is continued only with the same. `on_error` may change while no row was bad."""

    input_format: Format
    output_format: Format
    on_error: OnError = "fail"
    keep: tuple[str, ...] = ()
    """Columns of the input that are copied beside the answers."""
    keep_all: bool = False
    delimiter: str = ","
    """Between the cells of a CSV input."""
    nulls: tuple[str, ...] = ()
    """Cells of a CSV input that mean null beside empty ones."""


def options_of(source: Path, output: Path, asked: Mapping[str, object]) -> Options:
    """The options that were asked for: those that are None are left to the endings of the files and the defaults.

    Raises InvalidInput, which names the option.
    """
    given = {name: value for name, value in asked.items() if value is not None}
    if source.suffix.lower() == ".tsv":
        given.setdefault("delimiter", "\t")
    for name, path in (("input_format", source), ("output_format", output)):
        if name not in given:
            given[name] = format_of(path)
    try:
        options = msgspec.convert(given, Options)
    except msgspec.ValidationError as error:
        raise InvalidInput(str(error)) from None
    if len(options.delimiter) != 1 or not options.delimiter.isascii() or options.delimiter in '"\r\n':
        raise InvalidInput(
            "unusable delimiter", where="delimiter", found=repr(options.delimiter), expected="one ASCII character"
        )
    return options


class BadCell(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with one row; `row` counts from 0 in its chunk."""

    row: int
    column: str | None
    message: str
    found: str | None = None
    expected: str | None = None


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of one chunk, decoded."""

    count: int
    """Good and bad ones."""
    inputs: tuple[Tensor, ...]
    """Of the good rows, as a session takes them."""
    bad: tuple[BadCell, ...]
    kept: dict[str, Array]
    """Columns to copy, `count` values each."""

    @property
    def good(self) -> NDArray[np.bool_]:
        """For each row whether it is good."""
        return mask_of(self.count, self.bad)


def mask_of(count: int, bad: tuple[BadCell, ...]) -> NDArray[np.bool_]:
    """True for every one of `count` rows with which nothing is wrong."""
    good = np.ones(count, np.bool_)
    good[[cell.row for cell in bad]] = False
    return good


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """Some rows as they stand in the file."""

    data: object
    after: Position
    """Where the next one begins."""
    done: int
    """How much of the file is read with this chunk; see `Source.total`."""


class Source(Protocol):
    """A file of rows. Chunks are cut at the same places whenever they are cut, from whichever of them one starts."""

    total: int
    """Bytes of a file of lines, rows of a Parquet file."""
    kept: tuple[Field, ...]
    """Each column to copy: its name and Arrow type."""

    def chunks(self, start: Position) -> Iterator[Chunk]:
        """The chunks from `start` on, in order; used by one thread."""

    def decode(self, chunk: Chunk) -> Rows:
        """The rows of a chunk; used by several threads at once."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a run is."""

    rows: int
    bad: int
    done: int
    total: int


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What a run did. `rows` were read, `bad` of them could not be predicted."""

    rows: int
    bad: int
    resumed_at: int
    """Row at which this run went on; 0 for one that began anew."""
    seconds: float
    """Of this run, without the runs that it continued."""
    model: str
    version: str
    output: str
    errors: str | None
    """The file that names what is wrong with the bad rows."""
