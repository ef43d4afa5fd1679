"""Rows from files and into files: Parquet, Arrow IPC, lines of JSON; from CSV."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Literal, TypeAlias

from kaname.arrow import RecordBatch, arrow
from kaname.errors import InvalidInput
from kaname.features.bulk.csv_rows import CsvRows
from kaname.features.bulk.inserting import PIECE_BYTES, Form, Insertion
from kaname.features.bulk.lines import JsonLines, pieces
from kaname.features.bulk.loading import load
from kaname.features.columnar import PURPOSE
from kaname.features.history.moments import Known
from kaname.features.sql.query import Answer
from kaname.features.stored import StoredRelation
from kaname.features.types import Relation

Format: TypeAlias = Literal["parquet", "arrow", "ndjson", "csv"]
Progress: TypeAlias = Callable[[int], None]
"""Gets the rows so far."""

_ENDINGS: dict[str, Format] = {
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".csv": "csv",
}
_TEXTS: dict[Format, Callable[[Relation, Known | None], Form]] = {"ndjson": JsonLines, "csv": CsvRows}


def format_of(path: Path) -> Format:
    """What the ending of a file says. Raises InvalidInput."""
    found = _ENDINGS.get(path.suffix.lower())
    if found is None:
        raise InvalidInput("not a kind of file for rows", where=str(path), expected=" or ".join(_ENDINGS))
    return found


def insert_file(
    relation: StoredRelation, path: Path, progress: Progress = lambda _: None, at: Known | None = None
) -> int:
    """Write the rows of a file, many at a time, each time durably before the next are read; returns how many.
    `at`: see `load`.

    Raises InvalidInput with `rows[i].attribute` or `line i.attribute` (what came before was written then, and the same
    again is safe), for a file that cannot be read, and MissingDependency.
    """
    try:
        text = _TEXTS.get(format_of(path))
        if text is not None:
            return _insert_text(Insertion(relation, text(relation.relation, at), at), path, progress)
        return load(relation, _batches(path), progress, at)
    except OSError as error:  # Arrow's errors of reading are some, too
        raise InvalidInput("cannot be read", where=str(path), found=str(error)) from None


def write_file(answer: Answer, path: Path, progress: Progress = lambda _: None) -> int:
    """Write the rows of a query to a file, which appears under its name when it is complete; returns how many."""
    kind = format_of(path)
    if kind == "csv":
        expected = " or ".join(ending for ending, of in _ENDINGS.items() if of != "csv")
        raise InvalidInput("rows are not written as CSV, which has no types", where=str(path), expected=expected)
    with _draft(path) as draft:
        if kind != "ndjson":
            return _write_batches(answer, draft, kind, progress)
        written = 0
        with draft.open("wb") as file:
            for piece in pieces(answer):
                file.write(piece)
                written += piece.count(b"\n")
                progress(written)
        return written


@contextmanager
def _draft(path: Path) -> Iterator[Path]:
    draft = path.with_name(path.name + ".draft")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _insert_text(insertion: Insertion, path: Path, progress: Progress) -> int:
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            insertion.feed(piece)
            progress(insertion.written)
    return insertion.finish()


def _batches(path: Path) -> Iterator[RecordBatch]:
    a = arrow(PURPOSE)
    try:
        if format_of(path) == "parquet":
            with a.parquet.ParquetFile(path) as file:
                yield from file.iter_batches()
        else:
            with a.ipc.open_file(str(path)) as file:
                yield from (file.get_batch(i) for i in range(file.num_record_batches))
    except a.pa.ArrowInvalid as error:
        raise InvalidInput("not a file of its kind", where=str(path), found=str(error)) from None


def _write_batches(answer: Answer, path: Path, kind: Format, progress: Progress) -> int:
    a, batches, written = arrow(PURPOSE), answer.batches(), 0
    first = next(batches)
    new = a.parquet.ParquetWriter if kind == "parquet" else a.ipc.new_file
    options = {"compression": "zstd"} if kind == "parquet" else {}
    with new(str(path), first.schema, **options) as file:
        for batch in chain([first], batches):
            file.write_batch(batch)
            written += batch.num_rows
            progress(written)
    return written
