"""The record as a Parquet file: one row per row of a request, one column per input and output."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from kaname.arrow import DataType, Schema, arrow
from kaname.predictions.reader import EVERYTHING, PredictionReader, Query
from kaname.predictions.types import Digest, Prediction

PURPOSE = "export to Parquet"
ROWS_AT_ONCE = 20_000
INT64 = 2**63

_json = msgspec.json.Encoder().encode
Row = dict[str, Any]


def export_parquet(reader: PredictionReader, path: Path, query: Query = EVERYTHING) -> int:
    """Write the events that match to `path`; returns the number of rows.

    Columns `input.<name>` and `output.<name>` hold numbers, text, booleans or lists of numbers where all their
    values are such, JSON otherwise; a digest is `blake3:<hash>`. The record is read twice: for the types, and
    for the values. The file appears under its name when it is complete. Raises MissingDependency, OSError.
    """
    a = arrow(PURPOSE)
    marks = reader.marks(query.model)
    kinds: dict[str, set[str]] = {}
    for row in _rows(reader.scan(query, until=marks)):
        for name, value in row.items():
            if "." in name:
                kinds.setdefault(name, set()).add(_kind(value))
    schema = _schema(kinds)
    draft = path.with_name(path.name + ".draft")
    written = 0
    try:
        with a.parquet.ParquetWriter(draft, schema, compression="zstd") as file:
            for part in _parts(_rows(reader.scan(query, until=marks))):
                rows = [{name: _fit(row.get(name), schema.field(name).type) for name in schema.names} for row in part]
                file.write_table(a.pa.Table.from_pylist(rows, schema=schema))
                written += len(rows)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return written


def _rows(events: Iterable[Prediction]) -> Iterator[Row]:
    for event in events:
        for row in range(max(event.rows, 1)):
            yield _row(event, row)


def _row(event: Prediction, row: int) -> Row:
    found: Row = {
        "request_id": event.request_id,
        "row": row,
        "time": event.time_us,
        "latency_us": event.latency_us,
        "model": event.model,
        "version": event.version,
        "key_id": event.key_id,
        "status": event.status,
        "cached": event.cached,
        "trace_id": event.trace_id,
        "error_code": event.error.code if event.error else None,
        "error_message": event.error.message if event.error else None,
    }
    for side, values in (("input", event.inputs), ("output", event.outputs)):
        for name, value in values.items():
            found[f"{side}.{name}"] = _cell(value, row, event.rows)
    return found


def _cell(value: Any, row: int, rows: int) -> object:
    """What one row has of a value; a value that has not one entry per row is repeated whole."""
    if isinstance(value, Digest):
        return f"blake3:{value.hash}"
    found = value[row] if isinstance(value, list) and len(value) == rows else value
    while isinstance(found, list) and len(found) == 1:
        found = found[0]
    if isinstance(found, bytes):
        return found.decode(errors="replace")
    return found


def _parts(rows: Iterator[Row]) -> Iterator[list[Row]]:
    part: list[Row] = []
    for row in rows:
        part.append(row)
        if len(part) == ROWS_AT_ONCE:
            yield part
            part = []
    if part:
        yield part


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if -INT64 <= value < INT64 else "json"
    if isinstance(value, float):
        return "float"
    if isinstance(value, str):
        return "str"
    if isinstance(value, list) and all(_kind(item) in ("int", "float") for item in value):
        return "numbers"
    return "json"


def _schema(kinds: dict[str, set[str]]) -> Schema:
    pa = arrow(PURPOSE).pa
    columns: list[tuple[str, Any]] = [
        ("request_id", pa.string()),
        ("row", pa.int32()),
        ("time", pa.timestamp("us", tz="UTC")),
        ("latency_us", pa.int64()),
        *((name, pa.string()) for name in ("model", "version", "key_id", "status", "error_code", "error_message")),
        ("cached", pa.bool_()),
        ("trace_id", pa.string()),
    ]
    for name in sorted(kinds):
        found = kinds[name] - {"null"}
        if found == {"bool"}:
            columns.append((name, pa.bool_()))
        elif found == {"int"}:
            columns.append((name, pa.int64()))
        elif found and found <= {"int", "float"}:
            columns.append((name, pa.float64()))
        elif found == {"numbers"}:
            columns.append((name, pa.list_(pa.float64())))
        else:
            columns.append((name, pa.string()))
    return pa.schema(columns)


def _fit(value: object, kind: DataType) -> object:
    """`value` for a column; text columns take anything, as JSON. Whole numbers beside fractions are rounded to doubles,
    which pyarrow refuses to do."""
    if value is None or isinstance(value, str):
        return value
    if str(kind) == "string":
        return _json(value).decode()
    if str(kind) == "double":
        return float(value)  # type: ignore[arg-type]  # an int or a float: `_schema`
    return [float(item) for item in value] if isinstance(value, list) else value
