"""JSON lines as sources of rows: each line is what a request has as `features`, and may hold more beside it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Union

import msgspec

from kaname.arrow import Array, arrow
from kaname.batch import columns
from kaname.batch.csv_input import too_long
from kaname.batch.lines import blocks
from kaname.batch.types import JSON, PURPOSE, BadCell, Chunk, Options, Position, Rows
from kaname.call import Call, Principal
from kaname.errors import InvalidInput, KanameError
from kaname.inference.gather import check_table, gather_for, strict_context
from kaname.rowtext import BOM
from kaname.serving.json_input import JsonInput, explain
from kaname.signature import Feature, Signature
from kaname.tensors import FLOATS, Tensor

_NOBODY = Principal("", "batch", may_predict=None, scopes=frozenset())
_MOST = 1 << 40
Good = tuple[tuple[Tensor, ...], list[BadCell]]


class JsonLinesSource:
    """A line is an object with the features by name, or a list of them in order; blank lines are no rows."""

    def __init__(self, path: Path, signature: Signature, options: Options) -> None:
        """Raises InvalidInput when columns are to be kept that a line cannot name."""
        self._path = path
        self._signature = signature
        columns.features_of(signature)
        if options.keep_all:
            raise InvalidInput("lines name no columns in advance", where="--keep-all", expected="--keep NAME for each")
        if options.keep and not signature.features:
            raise InvalidInput("the lines for this model hold nothing but its inputs", where="--keep")
        self.total = path.stat().st_size
        pa = arrow(PURPOSE).pa
        names = list(dict.fromkeys(options.keep))
        self.kept = tuple(pa.field(name, pa.string(), metadata=JSON) for name in names)
        self._rows = _Table(signature, names) if signature.features else _Tensors(signature)

    def chunks(self, start: Position) -> Iterator[Chunk]:
        for block in blocks(self._path, start[0], quoted=False):
            data = block.data
            if data is not None and start[0] == 0 and block.after == len(data):
                data = data.removeprefix(BOM)
            yield Chunk(data=data, after=(block.after, 0), done=block.after)

    def decode(self, chunk: Chunk) -> Rows:
        if chunk.data is None:
            rows = self._rows.decode([])
            kept = {field.name: arrow(PURPOSE).pa.nulls(1, field.type) for field in self.kept}
            return msgspec.structs.replace(rows, count=1, bad=(too_long(),), kept=kept)
        assert isinstance(chunk.data, bytes)
        return self._rows.decode([line for line in chunk.data.split(b"\n") if line and not line.isspace()])


# --- features -------------------------------------------------------------------------------------------


class _Table:
    """Decodes the lines for a model of named features, with `kept` values copied as the JSON that they are."""

    def __init__(self, signature: Signature, kept: Sequence[str]) -> None:
        self._signature = signature
        self._kept = kept
        fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
        for at, feature in enumerate(signature.features):
            default = {"default": None} if feature.nullable else {}
            fields.append((f"f{at}", _cell(feature), msgspec.field(name=feature.name, **default)))
        own = [name for name in kept if name not in {feature.name for feature in signature.features}]
        fields += [
            (f"k{at}", msgspec.Raw, msgspec.field(name=name, default=msgspec.Raw(b"null")))
            for at, name in enumerate(own)
        ]
        named = msgspec.defstruct("Line", fields, kw_only=True, gc=False)
        listed = tuple[tuple(_cell(feature) for feature in signature.features)]  # type: ignore[misc, valid-type]  # built at run time
        self._own = own
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(Union[named, listed]).decode  # noqa: UP007
        self._width = len(signature.features)

    def decode(self, lines: Sequence[bytes]) -> Rows:
        try:
            found, bad = [self._decode(line) for line in lines], list[BadCell]()
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            found, bad = self._carefully(lines)
        rows = [_values(row, len(self._own)) for row in found]
        names = self._signature.features
        values = list(zip(*rows, strict=True)) if rows else [()] * (self._width + len(self._own))
        wrong = {cell.row for cell in bad}
        table = {feature.name: columns.of_list(feature, cells) for feature, cells in zip(names, values, strict=False)}
        places = [row for row in range(len(lines)) if row not in wrong]
        inputs, more = columns.assemble(self._signature, table, len(rows))
        bad += [msgspec.structs.replace(cell, row=places[cell.row]) for cell in more]
        kept = self._copied(values, places, len(lines))
        return Rows(count=len(lines), inputs=inputs, bad=tuple(sorted(bad, key=lambda c: c.row)), kept=kept)

    def _carefully(self, lines: Sequence[bytes]) -> tuple[list[Any], list[BadCell]]:
        found, bad = [], []
        for row, line in enumerate(lines):
            try:
                found.append(self._decode(line))
            except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
                bad.append(_bad(row, explain(error), line))
        return found, bad

    def _copied(self, values: Sequence[Sequence[Any]], places: Sequence[int], count: int) -> dict[str, Array]:
        pa = arrow(PURPOSE).pa
        kept = {}
        features = {feature.name: at for at, feature in enumerate(self._signature.features)}
        for name in self._kept:
            out: list[str | None] = [None] * count
            if name in features:
                cells = [msgspec.json.encode(cell).decode() for cell in values[features[name]]]
            else:
                cells = [bytes(cell).decode() for cell in values[self._width + self._own.index(name)]]
            for place, cell in zip(places, cells, strict=True):
                out[place] = None if cell == "null" else cell
            kept[name] = pa.array(out, pa.string())
        return kept


def _values(row: Any, kept: int) -> tuple[Any, ...]:
    if type(row) is tuple:
        return (*row, *[b"null"] * kept)
    return msgspec.structs.astuple(row)


def _cell(feature: Feature) -> Any:
    if feature.categories is not None or feature.datatype == "BYTES":
        kind: Any = str
    elif feature.datatype == "BOOL":
        kind = bool
    else:
        kind = float if feature.datatype in FLOATS else int
    return kind | None if feature.nullable else kind


def _bad(row: int, error: KanameError, line: bytes) -> BadCell:
    """What is wrong with a line, with the value that stands at the place."""
    where = None if error.where in (None, "body") else error.where
    found = error.found
    if where is not None:
        with contextlib.suppress(msgspec.MsgspecError, KeyError, TypeError, IndexError):
            found = columns.shown(msgspec.json.decode(line)[where])
    elif found is None:
        found = columns.shown(line.decode("utf-8", "replace"))
    return BadCell(row=row, column=where, message=error.message, found=found, expected=error.expected)


# --- tensors --------------------------------------------------------------------------------------------


class _Tensors:
    """Decodes the lines for a model without named features, exactly as requests are."""

    def __init__(self, signature: Signature) -> None:
        self._signature = signature
        self._input = JsonInput(signature, _MOST)
        self._gather = gather_for(signature)

    def decode(self, lines: Sequence[bytes]) -> Rows:
        if not lines:
            return Rows(count=0, inputs=self._empty(), bad=(), kept={})
        try:
            return Rows(count=len(lines), inputs=self._inputs(lines), bad=(), kept={})
        except KanameError:
            good, bad = self._carefully(lines)
        inputs = self._inputs(good) if good else self._empty()
        return Rows(count=len(lines), inputs=inputs, bad=tuple(bad), kept={})

    def _inputs(self, lines: Sequence[bytes]) -> tuple[Tensor, ...]:
        call = Call("batch", _NOBODY, lambda _, __: None, rows=len(lines))
        self._input.fill(call, b'{"instances":[' + b",".join(lines) + b"]}")
        if call.rows != len(lines):
            raise InvalidInput("a line holds more than one value")
        try:
            return strict_context().run(self._gather, [call])[0]
        except (FloatingPointError, OverflowError, TypeError, ValueError) as error:
            check_table(call, self._signature)
            raise InvalidInput("a value does not fit") from error

    def _carefully(self, lines: Sequence[bytes]) -> tuple[list[bytes], list[BadCell]]:
        good, bad = [], []
        for row, line in enumerate(lines):
            try:
                msgspec.json.decode(line)  # one whole value: two with a comma between would be two instances
                self._inputs([line])
                good.append(line)
            except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
                bad.append(_bad(row, explain(error), line))
            except KanameError as error:
                place = (error.where or "").replace("instances[0]", "").replace("features", "").lstrip(".") or None
                expected = error.expected
                bad.append(BadCell(row=row, column=place, message=error.message, found=error.found, expected=expected))
        return good, bad

    def _empty(self) -> tuple[Tensor, ...]:
        """Inputs of no rows: nothing is run on them."""
        return ()
