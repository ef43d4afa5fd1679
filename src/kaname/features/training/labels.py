"""The labels of a training set: a CSV or Parquet file with the keys of an entity and a moment in each row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import msgspec

from kaname.arrow import RecordBatch, Schema, arrow
from kaname.errors import InvalidInput, NotFound
from kaname.features.history.moments import micros
from kaname.features.plain import reader_of
from kaname.features.training.types import PURPOSE
from kaname.features.types import Attribute, Type

ROWS_AT_ONCE = 20_000
_BLOCK_BYTES = 4 * 1024 * 1024
_TRUTHS = {"true": True, "false": False, "1": True, "0": False}
_PARSERS: dict[str, Callable[[str], object]] = {
    "int32": int,
    "int64": int,
    "float32": float,
    "float64": float,
    "bool": _TRUTHS.__getitem__,
    "json": msgspec.json.decode,
}
"""What a text in CSV stands for; the other types are texts."""


class Labels:
    """A file of labels, which may be read several times."""

    def __init__(self, path: Path, entity: Mapping[str, Type], time: str) -> None:
        """Raises NotFound, InvalidInput when it lacks a column, MissingDependency."""
        self.path = path
        self._is_csv = path.suffix.lower() == ".csv"
        if not self._is_csv and path.suffix.lower() not in (".parquet", ".pq"):
            raise InvalidInput("not a file of labels", where=str(path), expected="a name that ends in .csv or .parquet")
        if not path.is_file():
            raise NotFound("no such file of labels", where=str(path))
        if time in entity:
            raise InvalidInput("the time of a label is no key of its entity", where="--time", found=f"`{time}`")
        self.keys = tuple(Attribute(name, of) for name, of in entity.items())
        self.time = Attribute(time, Type("timestamp"))
        self.schema = self._schema()
        for name in (*entity, time):
            if name not in self.schema.names:
                expected = f"one of {', '.join(self.schema.names)}" + ("; see --time" if name == time else "")
                raise InvalidInput(f"no column `{name}`", where=self._place(None), expected=expected)
        self._readers = [(key, self._reader(key)) for key in (*self.keys, self.time)]

    def batches(self) -> Iterator[RecordBatch]:
        """The rows as they are. Raises InvalidInput for a file that cannot be read."""
        pa = arrow(PURPOSE).pa
        done = 0
        try:
            with self._open() as source:
                for batch in source:
                    done += batch.num_rows
                    yield batch
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:
            raise InvalidInput(f"cannot be read: {error}", where=self._place(done)) from None

    def values(self, batch: RecordBatch, first: int) -> list[list[Any]]:
        """Of a batch the keys, as the attributes have them, and then the moments, as µs since 1970.

        `first`: the number of its first row. Raises InvalidInput with the line and the column.
        """
        return [self._column(batch, attribute, read, first) for attribute, read in self._readers]

    def place(self, row: int, column: str) -> str:
        """Where a value stands, for people; rows count from 0."""
        return f"{self._place(row)}, column {column}"

    def _column(
        self, batch: RecordBatch, attribute: Attribute, read: Callable[[Any], object], first: int
    ) -> list[object]:
        column, types = batch.column(batch.schema.get_field_index(attribute.name)), arrow(PURPOSE).pa.types
        if types.is_timestamp(column.type):
            column = column.cast(arrow(PURPOSE).pa.timestamp("us", column.type.tz), safe=False)
        texts = column.to_pylist()
        known: dict[object, object] = {}
        found: list[object] = []
        for i, text in enumerate(texts):
            if text not in known:
                try:
                    known[text] = read(text)
                except (InvalidInput, ValueError, KeyError) as error:
                    raise self._refused(error, text, attribute, first + i) from None
            found.append(known[text])
        return found

    def _reader(self, attribute: Attribute) -> Callable[[Any], object]:
        """What makes a value of an attribute of what the file holds."""
        check = reader_of(attribute)
        parse = _PARSERS.get(attribute.type.name) if self._is_csv else None
        if attribute is self.time:
            return lambda text: micros(check(text))
        return check if parse is None else lambda text: check(None if text is None else parse(text))

    def _refused(self, error: Exception, text: object, attribute: Attribute, row: int) -> InvalidInput:
        expected = error.expected if isinstance(error, InvalidInput) else f"a value of {attribute.type}"
        found = "nothing" if text in (None, "") else repr(text)[:60]
        what = "moment" if attribute is self.time else f"value of `{attribute.name}`"
        return InvalidInput(f"not a {what}", where=self.place(row, attribute.name), found=found, expected=expected)

    def _place(self, row: int | None) -> str:
        """Rows count from 0; the first line of CSV names the columns."""
        if row is None:
            return str(self.path)
        return f"{self.path}:{row + 2}" if self._is_csv else f"{self.path}, row {row + 1}"

    def _schema(self) -> Schema:
        pa = arrow(PURPOSE).pa
        try:
            with self._open() as source:
                return source.schema
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:
            raise InvalidInput(f"cannot be read: {error}", where=str(self.path)) from None

    def _open(self) -> Any:
        """A reader of record batches, which closes."""
        a = arrow(PURPOSE)
        if self._is_csv:
            texts = {attribute.name: a.pa.string() for attribute in (*self.keys, self.time)}
            return a.csv.open_csv(
                self.path,
                read_options=a.csv.ReadOptions(block_size=_BLOCK_BYTES, use_threads=False),
                convert_options=a.csv.ConvertOptions(column_types=texts, strings_can_be_null=True),
            )
        return _ParquetRows(self.path)


class _ParquetRows:
    """A Parquet file as a reader of record batches."""

    def __init__(self, path: Path) -> None:
        self._file = arrow(PURPOSE).parquet.ParquetFile(path)
        self.schema = self._file.schema_arrow

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[RecordBatch]:
        return self._file.iter_batches(ROWS_AT_ONCE)  # type: ignore[no-any-return]  # pyarrow has no types
