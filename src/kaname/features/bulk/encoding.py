"""Rows of a batch as the cells of a layout, a column at a time: the bytes of `Layout.put`, made much faster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import msgspec
import numpy as np

from kaname.arrow import Array
from kaname.errors import InvalidInput
from kaname.features.bulk import numbers
from kaname.features.bulk.columns import Columns, OneByOne
from kaname.features.bulk.numbers import Bytes
from kaname.features.codecs import codec_of
from kaname.features.groups import MARKER, AttributeCells, Group, OneCell
from kaname.features.layout import Layout
from kaname.features.parts import CompiledPart
from kaname.features.types import Attribute, Relation
from kaname.storage.cells.types import MAX_ROW_BYTES, Delete, Mutation, Put

Texts: TypeAlias = list[bytes]
"""The bytes of each row."""

_INVERTED = bytes(255 - byte for byte in range(256))
_SIZES = [size.to_bytes(2, "big") for size in range(MAX_ROW_BYTES + 1)]


class BatchRow(Mapping[str, object]):
    """One row of a batch, whose values are made when somebody looks."""

    __slots__ = ("_number", "_rows")

    def __init__(self, rows: BatchRows, number: int) -> None:
        self._rows = rows
        self._number = number

    def __getitem__(self, name: str) -> object:
        return self._rows.values(name)[self._number]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows.relation.names)

    def __len__(self) -> int:
        return len(self._rows.relation.names)


class BatchRows(Sequence[Mapping[str, object]]):
    """Whole rows of a relation that come in columns."""

    def __init__(self, columns: Columns, relation: Relation) -> None:
        self.relation = relation
        self._columns = columns
        self.values = columns.values
        """The values of an attribute, of all rows."""
        self._attributes = {attribute.name: attribute for attribute in relation.attributes}
        self._made: dict[Layout, _Encoded | None] = {}

    def __len__(self) -> int:
        return len(self._columns)

    def __getitem__(self, number: int) -> BatchRow:  # type: ignore[override]  # nobody slices
        return BatchRow(self, number)

    def __iter__(self) -> Iterator[BatchRow]:
        return (BatchRow(self, number) for number in range(len(self)))

    def made(self, layout: Layout, row: BatchRow, *, timestamp_us: int, number: int) -> list[Mutation]:
        """What `Layout.put` makes of a row. Raises InvalidInput as it does."""
        if layout not in self._made:
            self._made[layout] = self._encoded(layout)
        encoded = self._made[layout]
        if encoded is None:
            return layout.put(row, timestamp_us=timestamp_us, number=number)
        table, key = layout.table, encoded.keys[number]
        found: list[Mutation] = [
            Put(table, key, family, cells[number], timestamp_us) for family, cells in encoded.puts.items()
        ]
        for family, deletes in encoded.deletes.items():
            if number in deletes:
                found.append(Delete(table, key, family, deletes[number], timestamp_us))
        return found

    def _encoded(self, layout: Layout) -> _Encoded | None:
        """None: row by row."""
        try:
            found = _Encoded(self._keys(layout))
            for group in layout.groups:
                self._encode(group, found)
        except (OneByOne, InvalidInput):
            return None
        return found

    def _keys(self, layout: Layout) -> Texts:
        parts = [self._part(part) for part in layout.row]
        keys = parts[0] if len(parts) == 1 else list(map(b"".join, zip(*parts, strict=True)))
        if keys and not 0 < min(map(len, keys)) <= max(map(len, keys)) <= MAX_ROW_BYTES:
            raise OneByOne
        return keys

    def _part(self, part: CompiledPart) -> Texts:
        says = part.says
        if part.attribute is None or says.kind == "fixed":
            return self._written(part)
        attribute = self._attributes[part.attribute]
        data = self._texts(attribute) if numbers.width_of(attribute) is None else self._ordered(attribute)
        if says.kind == "size":
            data = [_SIZES[len(text)] + text if len(text) <= MAX_ROW_BYTES else _too_long() for text in data]
        elif says.kind == "suffix":
            if len(says.separator) != 1 or any(says.separator in text for text in data):
                raise OneByOne
            data = [text + says.separator for text in data]
        return [text.translate(_INVERTED) for text in data] if part.desc else data

    def _written(self, part: CompiledPart) -> Texts:
        """A part whose values are written one by one."""
        if part.attribute is not None:
            return list(map(part.write, self.values(part.attribute)))
        columns = [self.values(name) for name in part.hashed]
        return [part.write(list(values)) for values in zip(*columns, strict=True)]

    def _texts(self, attribute: Attribute) -> Texts:
        """Values of any length in their plain form; nothing for null."""
        if attribute.type.name == "json":
            write = codec_of(attribute).write
            return [b"" if value is None else write(value) for value in self.values(attribute.name)]
        column = self._columns.array(attribute)
        found: Texts = column.cast("binary").fill_null(b"").to_pylist()
        return found

    def _ordered(self, attribute: Attribute) -> Texts:
        return numbers.split(_all(numbers.ordered(self._columns.array(attribute), attribute)))

    def _encode(self, group: Group, into: _Encoded) -> None:
        """The cells of a group, beside those of others in its family."""
        if len(group.families) != 1:
            raise OneByOne
        [family] = group.families
        if isinstance(group, OneCell) and group.packed:
            packs = self._packed([self._attributes[name] for name in group.attributes])
            cells = [{group.qualifier: data} for data in packs]
        elif isinstance(group, AttributeCells) and group.attributes:
            cells = self._apart(group, into.deletes.setdefault(family, {}))
        else:
            raise OneByOne
        if family in into.puts:
            for there, more in zip(into.puts[family], cells, strict=True):
                there.update(more)
        else:
            into.puts[family] = cells

    def _apart(self, group: AttributeCells, deletes: dict[int, list[bytes]]) -> list[dict[bytes, bytes]]:
        """A cell for each attribute; for nulls the marker, and deletes by the number of the row."""
        attributes = [self._attributes[name] for name in group.attributes]
        columns = [self._plain(attribute) for attribute in attributes]
        cells = [dict(zip(group.qualifiers, values, strict=True)) for values in zip(*columns, strict=True)]
        for attribute, qualifier in zip(attributes, group.qualifiers, strict=True):
            for number in np.flatnonzero(_nulls(self._columns.array(attribute))).tolist():
                del cells[number][qualifier]
                cells[number][MARKER] = b""
                deletes.setdefault(number, []).append(qualifier)
        return cells

    def _plain(self, attribute: Attribute) -> Texts:
        if numbers.width_of(attribute) is None:
            return self._texts(attribute)
        return numbers.split(_all(numbers.plain(self._columns.array(attribute), attribute)))

    def _packed(self, attributes: Sequence[Attribute]) -> Texts:
        """See `packing`: count, nulls, what has a width, lengths of the rest, and these."""
        wide = [one for one in attributes if numbers.width_of(one) is not None]
        long = [one for one in attributes if numbers.width_of(one) is None]
        tails = [self._texts(attribute) for attribute in long]
        heads = [np.full((len(self), 1), len(attributes), np.uint8), self._masks(attributes)]
        for attribute in wide:
            column = self._columns.array(attribute)
            data = _all(numbers.plain(column, attribute))
            if column.null_count:
                data = np.where(_nulls(column)[:, None], np.uint8(0), data)
            heads.append(data)
        heads += [_lengths(tail) for tail in tails]
        head = numbers.split(np.hstack(heads))
        return list(map(b"".join, zip(head, *tails, strict=True))) if tails else head

    def _masks(self, attributes: Sequence[Attribute]) -> Bytes:
        """The bits of the attributes that are null; the first is the lowest."""
        masks = np.zeros((len(self), (len(attributes) + 7) // 8), np.uint8)
        for i, attribute in enumerate(attributes):
            column = self._columns.array(attribute)
            if column.null_count:
                masks[:, i >> 3] |= _nulls(column).astype(np.uint8) << (i & 7)
        return masks


class _Encoded(msgspec.Struct, frozen=True, gc=False):
    """The rows of a batch in one layout."""

    keys: Texts
    puts: dict[str, list[dict[bytes, bytes]]] = {}
    """By family the cells of each row."""
    deletes: dict[str, dict[int, list[bytes]]] = {}
    """By family and number of the row the qualifiers that it has no longer."""


def _nulls(column: Array) -> np.ndarray[tuple[int], np.dtype[np.bool]]:
    return np.asarray(column.is_null().to_numpy(zero_copy_only=False))


def _lengths(texts: Texts) -> Bytes:
    return np.array(list(map(len, texts)), ">u4").view(np.uint8).reshape(-1, 4)


def _all(data: Bytes | None) -> Bytes:
    if data is None:
        raise OneByOne
    return data


def _too_long() -> bytes:
    raise OneByOne
