"""Rows as CSV (RFC 4180) with a header: commas, UTF-8, numbers with a point; an empty cell is null."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from kaname.errors import InvalidInput
from kaname.features.bulk.inserting import Piece, with_moment
from kaname.features.history.moments import Known
from kaname.features.refusing import shown
from kaname.features.types import Attribute, Relation
from kaname.features.wire import json_form, json_type
from kaname.rowtext import BOM

_LAX = ("bool", "int32", "int64", "float32", "float64")
"""Types that JSON does not write as text."""
_DOCUMENTS = ("json", "vector")
_AT = re.compile(r"`\$\[(\d+)\]")

csv.field_size_limit(1 << 31)


class CsvRows:
    """The columns of the header are attributes, in any order; those off the key may be left out. Values are text as
    JSON has them, JSON itself and vectors in JSON."""

    quoted = True

    def __init__(self, relation: Relation, at: Known | None = None) -> None:
        self._attributes = with_moment(relation, at)
        self._at = at
        self._header: list[str] = []

    def piece(self, text: bytes, line: int) -> Piece:
        """See `Form`."""
        rows, lines = _rows(text.removeprefix(BOM) if line == 1 else text, line)
        if rows and not self._header:
            self._header = self._checked(rows.pop(0), lines.pop(0))
        for row, number in zip(rows, lines, strict=True):
            if len(row) != len(self._header):
                expected = f"{len(self._header)}, as in the header"
                raise InvalidInput(
                    "not as many cells as columns", where=f"line {number}", found=str(len(row)), expected=expected
                )
        return Piece(lines, partial(self._columns, rows))

    def _checked(self, header: list[str], line: int) -> list[str]:
        where, known = f"line {line}", [attribute.name for attribute in self._attributes]
        for name in header:
            if name not in known or header.count(name) > 1:
                expected = f"one column for each of {', '.join(known)}"
                message = "no such attribute, or one that comes twice"
                raise InvalidInput(message, where=where, found=f"`{name}`", expected=expected)
        for attribute in self._attributes:
            if attribute.name not in header and (attribute.key or attribute.name == self._at):
                message = f"{'a key attribute' if attribute.key else 'the column of moments'} is missing"
                expected = f"a column `{attribute.name}`"
                raise InvalidInput(message, where=where, found=", ".join(header), expected=expected)
        return header

    def _columns(self, rows: Sequence[Sequence[str]]) -> dict[str, list[object]]:
        cells = dict(zip(self._header, zip(*rows, strict=True), strict=True))
        return {
            one.name: _values(one, cells[one.name]) if one.name in cells else [None] * len(rows)
            for one in self._attributes
        }


def _rows(text: bytes, line: int) -> tuple[list[list[str]], list[int]]:
    """The rows of cells, and the line on which each begins; empty lines are no rows."""
    try:
        reader = csv.reader(io.StringIO(text.decode(), newline=""), strict=True)
    except UnicodeDecodeError as error:
        number, found = line + text.count(b"\n", 0, error.start), text[error.start : error.start + 1]
        raise InvalidInput("not text", where=f"line {number}", found=shown(found), expected="UTF-8") from None
    rows: list[list[str]] = []
    lines: list[int] = []
    first = line
    try:
        for row in reader:
            if row:
                rows.append(row)
                lines.append(first)
            first = line + reader.line_num
    except csv.Error as error:
        expected = "cells between commas; quotes around a cell with commas, and doubled inside"
        raise InvalidInput("not CSV", where=f"line {first}", found=str(error), expected=expected) from None
    return rows, lines


def _values(attribute: Attribute, cells: Sequence[str]) -> list[object]:
    """Raises InvalidInput with `rows[i].attribute`."""
    filled = [i for i, cell in enumerate(cells) if cell]
    found = _read(attribute, cells if len(filled) == len(cells) else [cells[i] for i in filled], filled)
    if len(filled) < len(cells):
        values: list[object] = [None] * len(cells)
        for i, value in zip(filled, found, strict=True):
            values[i] = value
        found = values
    if attribute.key and None in found:
        raise InvalidInput("a key attribute is null", where=f"rows[{found.index(None)}].{attribute.name}")
    return found


def _read(attribute: Attribute, cells: Sequence[str], numbers: Sequence[int]) -> list[object]:
    """The values of cells that are not empty; `numbers`: of their rows."""
    if attribute.type.name == "string":
        return list(cells)
    values: Sequence[object] = cells
    if attribute.type.name in _DOCUMENTS:
        values = [_document(attribute, cell, number) for cell, number in zip(cells, numbers, strict=True)]
    try:
        return _reader(attribute)(values)
    except msgspec.ValidationError as error:
        match = _AT.search(str(error))
        assert match is not None
        at = int(match[1])
        raise _refused(attribute, cells[at], numbers[at]) from None


def _reader(attribute: Attribute) -> Callable[[Sequence[object]], list[object]]:
    kind: Any = json_type(attribute)
    return partial(msgspec.convert, type=list[kind], strict=attribute.type.name not in _LAX)


def _document(attribute: Attribute, cell: str, number: int) -> object:
    try:
        return msgspec.json.decode(cell)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        raise _refused(attribute, cell, number) from None


def _refused(attribute: Attribute, cell: str, number: int) -> InvalidInput:
    where, expected = f"rows[{number}].{attribute.name}", json_form(attribute)
    return InvalidInput("not a value of this attribute", where=where, found=shown(cell), expected=expected)
