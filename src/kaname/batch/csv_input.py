"""CSV files with a header as sources of rows: parsed by Arrow, block by block; a bad cell costs its own row only."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np

from kaname.arrow import Array, ChunkedArray, Table, arrow
from kaname.batch import columns
from kaname.batch.lines import LONGEST_ROW_BYTES, blocks
from kaname.batch.named import kept_names, require
from kaname.batch.types import PURPOSE, BadCell, Chunk, Options, Position, Rows
from kaname.errors import InvalidInput
from kaname.rowtext import BOM
from kaname.signature import Feature, Signature
from kaname.tensors import FLOATS

HEADER_BYTES = 1024 * 1024


class Header(msgspec.Struct, frozen=True):
    """The first line of a file, and where the rows begin."""

    names: list[str]
    end: int


class CsvSource:
    """Numbers are written with a point; an empty cell is null; text stands as it is, in UTF-8."""

    def __init__(self, path: Path, signature: Signature, options: Options) -> None:
        """Raises InvalidInput when the header lacks a column of the model, names it twice, or cannot be read."""
        arrow(PURPOSE)
        self._path = path
        self._signature = signature
        self._options = options
        self._features = columns.features_of(signature)
        if not self._features:
            raise InvalidInput(
                "this model takes tensors, which CSV cannot hold", where=str(path), expected="JSON lines"
            )
        header = _header(path, options.delimiter)
        wanted = [feature.name for feature in self._features]
        require(wanted, header.names, str(path))
        names = kept_names(options, header.names, str(path))
        self.total = path.stat().st_size
        self.kept = tuple(arrow(PURPOSE).pa.field(name, arrow(PURPOSE).pa.string()) for name in names)
        self._names = names
        self._start = header.end
        self._columns = [f"c{at}" for at in range(len(header.names))]  # a header may repeat names that nobody needs
        at = {name: f"c{header.names.index(name)}" for name in {*wanted, *names}}
        self._at = at
        self._fast = {at[feature.name]: _type_of(feature) for feature in self._features}
        self._text = {at[name]: arrow(PURPOSE).pa.string() for name in names if at[name] not in self._fast}
        self._both = [name for name in names if at[name] in self._fast]

    def chunks(self, start: Position) -> Iterator[Chunk]:
        for block in blocks(self._path, max(start[0], self._start), quoted=True):
            yield Chunk(data=block.data, after=(block.after, 0), done=block.after)

    def decode(self, chunk: Chunk) -> Rows:
        if chunk.data is None:
            return self._too_long()
        assert isinstance(chunk.data, bytes)
        pa = arrow(PURPOSE).pa
        if not self._both:
            try:
                table, ragged = self._parse(chunk.data, {**self._fast, **self._text})
            except pa.ArrowInvalid:
                return self._carefully(chunk.data)
            found = {f.name: columns.of_array(f, _whole(table[self._at[f.name]])) for f in self._features}
            kept = {name: _whole(table[self._at[name]]) for name in self._names}
            return self._rows(found, kept, table.num_rows, ragged)
        return self._carefully(chunk.data)

    def _carefully(self, data: bytes) -> Rows:
        """Cells as bytes first: it is slower, and finds which of them do not fit."""
        pa = arrow(PURPOSE).pa
        table, ragged = self._parse(data, dict.fromkeys([*self._fast, *self._text], pa.binary()))
        found = {f.name: _cells(f, _whole(table[self._at[f.name]])) for f in self._features}
        kept, bad = {}, []
        for name in self._names:
            kept[name], wrong = _texts(_whole(table[self._at[name]]), name)
            bad += wrong
        return self._rows(found, kept, table.num_rows, ragged, bad)

    def _parse(self, data: bytes, types: dict[str, object]) -> tuple[Table, list[BadCell]]:
        """The columns of `types`, and the rows with too few or too many cells, which are not in them."""
        a = arrow(PURPOSE)
        ragged: list[BadCell] = []

        def skip(row: _Ragged) -> str:
            ragged.append(_ragged(row))
            return "skip"

        if not data.strip():
            empty = [a.pa.array([], kind) for kind in types.values()]
            return a.pa.table(empty, names=list(types)), ragged
        table = a.csv.read_csv(
            a.pa.BufferReader(data),
            read_options=a.csv.ReadOptions(
                use_threads=False, column_names=self._columns, block_size=max(len(data) + 1, 4096)
            ),
            parse_options=a.csv.ParseOptions(
                delimiter=self._options.delimiter, newlines_in_values=True, invalid_row_handler=skip
            ),
            convert_options=a.csv.ConvertOptions(
                column_types=types,
                include_columns=list(types),
                null_values=["", *self._options.nulls],
                strings_can_be_null=True,
                true_values=["1", "true", "True", "TRUE"],
                false_values=["0", "false", "False", "FALSE"],
            ),
        )
        return table, ragged

    def _rows(
        self,
        found: dict[str, columns.Column],
        kept: dict[str, Array],
        parsed: int,
        ragged: list[BadCell],
        bad: Sequence[BadCell] = (),
    ) -> Rows:
        if bad:  # a kept cell that is no text: the row is bad though its features are not
            first = self._features[0].name
            found = {**found, first: (found[first][0], [*found[first][1], *bad])}
        inputs, wrong = columns.assemble(self._signature, found, parsed)
        if not ragged:
            return Rows(count=parsed, inputs=inputs, bad=tuple(wrong), kept=kept)
        count = parsed + len(ragged)
        places = np.delete(np.arange(count), [cell.row for cell in ragged])
        moved = [msgspec.structs.replace(cell, row=int(places[cell.row])) for cell in wrong]
        return Rows(
            count=count,
            inputs=inputs,
            bad=tuple(sorted([*moved, *ragged], key=lambda cell: cell.row)),
            kept={name: columns.spread(array, places, count) for name, array in kept.items()},
        )

    def _too_long(self) -> Rows:
        pa = arrow(PURPOSE).pa
        found = {f.name: columns.of_array(f, pa.array([], _type_of(f))) for f in self._features}
        inputs, _ = columns.assemble(self._signature, found, 0)
        kept = {name: pa.nulls(1, pa.string()) for name in self._names}
        return Rows(count=1, inputs=inputs, bad=(too_long(),), kept=kept)


def too_long() -> BadCell:
    """What is wrong with a row that is not even read."""
    return BadCell(
        row=0,
        column=None,
        message="the row is too long (in a CSV file perhaps because a quote is missing)",
        found=f"more than {LONGEST_ROW_BYTES} bytes",
        expected=f"at most {LONGEST_ROW_BYTES} bytes",
    )


def _header(path: Path, delimiter: str) -> Header:
    with path.open("rb") as file:
        raw = file.read(HEADER_BYTES)
    skip = len(BOM) if raw.startswith(BOM) else 0
    try:
        text = raw[skip:].decode("utf-8", "replace" if len(raw) == HEADER_BYTES else "strict")
    except UnicodeDecodeError:
        text = raw[skip:].decode("utf-8", "replace")
    lines = _Counted(io.StringIO(text, newline=""))
    try:
        names = next(csv.reader(lines, delimiter=delimiter), [])
    except csv.Error as error:
        raise InvalidInput(f"the header cannot be read: {error}", where=str(path)) from None
    if not any(names):
        raise InvalidInput("the file has no header", where=str(path), found="nothing", expected="names of columns")
    if "\ufffd" in lines.seen:
        raise InvalidInput("the header is not UTF-8", where=f"{path}: line 1")
    return Header(names, skip + len(lines.seen.encode()))


class _Counted:
    """Lines of text that remember what was read of them."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.seen = ""

    def __iter__(self) -> _Counted:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.seen += line
        return line


def _type_of(feature: Feature) -> object:
    """What Arrow is to make of the cells: the widest type of the kind, so that the range is judged here."""
    pa = arrow(PURPOSE).pa
    if feature.categories is not None:
        return pa.dictionary(pa.int32(), pa.string())
    if feature.datatype == "BYTES":
        return pa.string()
    if feature.datatype in FLOATS:
        return pa.float64()
    if feature.datatype == "BOOL":
        return pa.bool_()
    return pa.uint64() if feature.datatype == "UINT64" else pa.int64()


def _whole(column: ChunkedArray) -> Array:
    """A table's column as one array."""
    return column.combine_chunks()


class _Ragged(Protocol):
    """Arrow's `InvalidRow`."""

    number: int
    actual_columns: int
    expected_columns: int
    text: str


def _ragged(row: _Ragged) -> BadCell:
    return BadCell(
        row=row.number - 1,
        column=None,
        message="wrong number of cells",
        found=f"{row.actual_columns}: {columns.shown(str(row.text))}",
        expected=str(row.expected_columns),
    )


# --- cells one by one -----------------------------------------------------------------------------------


def _texts(array: Array, name: str) -> tuple[Array, list[BadCell]]:
    """Bytes as text, null where they are not UTF-8."""
    pa = arrow(PURPOSE).pa
    try:
        return array.cast(pa.string()), []
    except pa.ArrowInvalid:
        bad: list[BadCell] = []
        return pa.array([_text(cell, row, name, bad) for row, cell in enumerate(array.to_pylist())], pa.string()), bad


def _text(cell: bytes | None, row: int, name: str, bad: list[BadCell]) -> str | None:
    try:
        return None if cell is None else cell.decode()
    except UnicodeDecodeError:
        found = columns.shown(repr(cell))
        bad.append(BadCell(row=row, column=name, message="the cell is not UTF-8", found=found, expected="UTF-8"))
        return None


def _cells(feature: Feature, array: Array) -> columns.Column:
    """Cells of a block in which some cell does not fit."""
    texts, bad = _texts(array, feature.name)
    kind = _type_of(feature)
    wrong = {cell.row for cell in bad}
    if feature.categories is None and feature.datatype != "BYTES":
        texts, unfit = _numbers(feature, texts, kind)
        bad, wrong = bad + unfit, wrong | {cell.row for cell in unfit}
    found, more = columns.of_array(feature, texts)
    return found, bad + [cell for cell in more if cell.row not in wrong]


def _numbers(feature: Feature, texts: Array, kind: object) -> tuple[Array, list[BadCell]]:
    a = arrow(PURPOSE)
    trimmed = a.compute.utf8_trim_whitespace(texts)
    try:
        return a.compute.cast(trimmed, kind), []
    except a.pa.ArrowInvalid:
        fits = _judge(kind)
        cells = trimmed.to_pylist()
        unfit = [row for row, cell in enumerate(cells) if cell is not None and not fits(cell)]
    bad = [
        BadCell(
            row=row,
            column=feature.name,
            message="wrong type",
            found=columns.shown(texts[row].as_py()),
            expected=columns.expected_of(feature),
        )
        for row in unfit
    ]
    wrong = set(unfit)
    good = [None if row in wrong else cell for row, cell in enumerate(cells)]
    return a.compute.cast(a.pa.array(good, a.pa.string()), kind), bad


def _judge(kind: object) -> Callable[[str], bool]:
    """Whether Arrow can make this type of a text; each different text is asked about once."""
    a, known = arrow(PURPOSE), dict[str, bool]()

    def fits(text: str) -> bool:
        if text not in known:
            try:
                a.compute.cast(a.pa.array([text]), kind)
                known[text] = True
            except a.pa.ArrowInvalid:
                known[text] = False
        return known[text]

    return fits
