"""Writes answers: as text that is appended to, or for Parquet as an Arrow stream that becomes a file at the end."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec

from kaname.arrow import Array, Field, RecordBatch, Schema, arrow
from kaname.batch.types import JSON, PURPOSE, Format

ROW_GROUP_ROWS = 131_072
ROW = "row"
"""The column that numbers the rows of the input, from 1."""
_json = msgspec.json.Encoder(decimal_format="number").encode


class Encoder(Protocol):
    """Turns rows into bytes that can be appended to a file, whenever and by whichever run."""

    def head(self) -> bytes:
        """What the file begins with."""

    def encode(self, batch: RecordBatch) -> bytes:
        """The rows of `batch`, which has the schema that the encoder was made for."""

    def finish(self, part: Path, output: Path) -> None:
        """Let the complete working file `part` take the name `output`; may be asked again after a crash."""


def encoder_of(form: Format, schema: Schema) -> Encoder:
    """The encoder of a format."""
    kinds: dict[Format, Callable[[Schema], Encoder]] = {"csv": CsvText, "jsonl": JsonLines, "parquet": ParquetFile}
    return kinds[form](schema)


class CsvText:
    """CSV with a header: text in quotes, null empty, lists as JSON, numbers so that reading gives the same bits."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def head(self) -> bytes:
        return (",".join('"' + name.replace('"', '""') + '"' for name in self._schema.names) + "\n").encode()

    def encode(self, batch: RecordBatch) -> bytes:
        a = arrow(PURPOSE)
        columns = [_cell(array, field) for array, field in zip(batch.columns, self._schema, strict=True)]
        sink = a.pa.BufferOutputStream()
        plain = a.pa.RecordBatch.from_arrays(columns, names=self._schema.names)
        a.csv.write_csv(plain, sink, a.csv.WriteOptions(include_header=False))
        return bytes(sink.getvalue())

    def finish(self, part: Path, output: Path) -> None:
        part.replace(output)


class JsonLines:
    """One object per row, with the numbers as answers over HTTP have them: NaN and infinity are null."""

    def __init__(self, schema: Schema) -> None:
        self._names = schema.names
        self._raw = [_is_json(field) for field in schema]

    def head(self) -> bytes:
        return b""

    def encode(self, batch: RecordBatch) -> bytes:
        columns = [
            [None if v is None else msgspec.Raw(v.encode()) for v in array.to_pylist()] if raw else array.to_pylist()
            for array, raw in zip(batch.columns, self._raw, strict=True)
        ]
        names = self._names
        return b"".join([_json(dict(zip(names, row, strict=True))) + b"\n" for row in zip(*columns, strict=True)])

    def finish(self, part: Path, output: Path) -> None:
        part.replace(output)


class ParquetFile:
    """A Parquet file ends with what its rows are, so rows are first appended to an Arrow stream."""

    def __init__(self, schema: Schema) -> None:
        pa = arrow(PURPOSE).pa
        self._given = schema
        self._schema = pa.schema([pa.field(field.name, field.type) for field in schema])

    def head(self) -> bytes:
        return bytes(self._schema.serialize())

    def encode(self, batch: RecordBatch) -> bytes:
        pa = arrow(PURPOSE).pa
        columns = [_plain(array, field) for array, field in zip(batch.columns, self._given, strict=True)]
        return bytes(pa.RecordBatch.from_arrays(columns, schema=self._schema).serialize())

    def finish(self, part: Path, output: Path) -> None:
        a = arrow(PURPOSE)
        draft = output.with_name(output.name + ".draft")
        with (
            a.pa.memory_map(str(part)) as raw,
            a.parquet.ParquetWriter(draft, self._schema, compression="zstd", **_encodings(self._schema)) as file,
        ):
            held, rows = [], 0
            for batch in a.ipc.open_stream(raw):
                held.append(batch)
                rows += batch.num_rows
                while rows >= ROW_GROUP_ROWS:
                    table = a.pa.Table.from_batches(held)
                    file.write_table(table.slice(0, ROW_GROUP_ROWS), row_group_size=ROW_GROUP_ROWS)
                    held = table.slice(ROW_GROUP_ROWS).to_batches()
                    rows -= ROW_GROUP_ROWS
            if rows:
                file.write_table(a.pa.Table.from_batches(held), row_group_size=ROW_GROUP_ROWS)
        with draft.open("rb+") as written:
            sync(written.fileno())
        draft.replace(output)
        part.unlink()


def sync(fd: int) -> None:
    """Have what was written on the disk."""
    os.fsync(fd)


def _encodings(schema: Schema) -> dict[str, Any]:
    """Dictionaries for what repeats itself: for numbers of rows and answers, hardly two of which are alike, making one
    takes several times as long as writing them without, in two thirds of the room."""
    types = arrow(PURPOSE).pa.types
    repeated = [field.name for field in schema if field.name != ROW and not types.is_floating(field.type)]
    return {"use_dictionary": repeated or False, "column_encoding": {ROW: "DELTA_BINARY_PACKED"}}


def _is_json(field: Field) -> bool:
    return bool(field.metadata == JSON)


def _plain(array: Array, field: Field) -> Array:
    """JSON as text, with texts as they are."""
    if not _is_json(field):
        return array
    texts = [v if v is None or not v.startswith('"') else msgspec.json.decode(v) for v in array.to_pylist()]
    return arrow(PURPOSE).pa.array(texts, array.type)


def _cell(array: Array, field: Field) -> Array:
    pa = arrow(PURPOSE).pa
    if _is_json(field):
        return _plain(array, field)
    if pa.types.is_float16(array.type) or pa.types.is_float32(array.type):
        return array.cast(pa.float64())
    if pa.types.is_nested(array.type):
        return pa.array([None if v is None else _json(v).decode() for v in array.to_pylist()], pa.string())
    return array
