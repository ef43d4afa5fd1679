"""Parquet files as sources of rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kaname.arrow import Array, DataType, arrow
from kaname.batch import columns
from kaname.batch.named import kept_names, require
from kaname.batch.types import PURPOSE, Chunk, Options, Position, Rows
from kaname.errors import CorruptData, InvalidInput
from kaname.signature import Signature

ROWS = 16_384
"""Rows of a chunk."""


class ParquetSource:
    """Columns keep their types; a position is a row group and a row in it."""

    def __init__(self, path: Path, signature: Signature, options: Options) -> None:
        """Raises InvalidInput when a column of the model is missing or has a type that cannot hold it, CorruptData
        when the file is no Parquet."""
        a = arrow(PURPOSE)
        self._signature = signature
        self._features = columns.features_of(signature)
        if not self._features:
            raise InvalidInput("this model takes tensors, not columns", where=str(path), expected="JSON lines")
        try:
            self._file = a.parquet.ParquetFile(path)
        except a.pa.ArrowInvalid as error:
            raise CorruptData(f"not a Parquet file: {error}", where=str(path)) from error
        schema = self._file.schema_arrow
        wanted = [feature.name for feature in self._features]
        require(wanted, schema.names, str(path))
        names = kept_names(options, schema.names, str(path))
        for feature in self._features:
            columns.check_type(feature, schema.field(feature.name).type, str(path))
        self.total = self._file.metadata.num_rows
        self.kept = tuple(a.pa.field(name, _plain(schema.field(name).type)) for name in names)
        self._names = names
        self._read = list(dict.fromkeys([*wanted, *names]))

    def chunks(self, start: Position) -> Iterator[Chunk]:
        file = self._file.metadata
        first, skipped = start
        done = sum(file.row_group(group).num_rows for group in range(first))
        for group in range(first, file.num_row_groups):
            at = 0
            for batch in self._file.iter_batches(ROWS, row_groups=[group], columns=self._read):
                at += batch.num_rows
                done += batch.num_rows
                if group > first or at > skipped:
                    whole = at >= file.row_group(group).num_rows
                    yield Chunk(data=batch, after=(group + 1, 0) if whole else (group, at), done=done)

    def decode(self, chunk: Chunk) -> Rows:
        batch: Array = chunk.data
        found = {feature.name: columns.of_array(feature, batch.column(feature.name)) for feature in self._features}
        inputs, bad = columns.assemble(self._signature, found, batch.num_rows)
        kept = {name: _decoded(batch.column(name)) for name in self._names}
        return Rows(count=batch.num_rows, inputs=inputs, bad=tuple(bad), kept=kept)


def _plain(kind: DataType) -> DataType:
    """A column's type without a dictionary: other row groups may have other ones."""
    return kind.value_type if arrow(PURPOSE).pa.types.is_dictionary(kind) else kind


def _decoded(array: Array) -> Array:
    return array.dictionary_decode() if arrow(PURPOSE).pa.types.is_dictionary(array.type) else array
