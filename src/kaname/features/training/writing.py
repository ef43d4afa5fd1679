"""The file of a training set: Parquet or CSV, under its name when it is complete."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kaname.arrow import RecordBatch, Schema, arrow
from kaname.errors import InvalidInput
from kaname.features.training.types import PURPOSE


class Output:
    """`with Output(path, schema) as out: out.write(batch)`; without an error at its end the file is there."""

    def __init__(self, path: Path, schema: Schema) -> None:
        """Raises InvalidInput for another kind of file, and for columns that CSV cannot hold."""
        a, self._path = arrow(PURPOSE), path
        self._draft = path.with_name(path.name + ".draft")
        suffix = path.suffix.lower()
        if suffix == ".csv":
            _check_flat(schema, path)
            self._file: Any = a.csv.CSVWriter(self._draft, schema)
        elif suffix in (".parquet", ".pq"):
            self._file = a.parquet.ParquetWriter(self._draft, schema, compression="zstd")
        else:
            raise InvalidInput(
                "not a kind of training set", where=str(path), expected="a name that ends in .parquet or .csv"
            )

    def write(self, batch: RecordBatch) -> None:
        """Add rows."""
        self._file.write_batch(batch)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()
        if kind is None:
            self._draft.replace(self._path)
        self._draft.unlink(missing_ok=True)


def _check_flat(schema: Schema, path: Path) -> None:
    types = arrow(PURPOSE).pa.types
    for field in schema:
        if types.is_nested(field.type):
            raise InvalidInput(
                f"CSV has no place for column `{field.name}`",
                where=str(path),
                found=str(field.type),
                expected=".parquet",
            )
