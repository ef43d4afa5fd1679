"""Rows for any table: every column filled with something that a careless database would change."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Table
from sqlalchemy.types import BigInteger, Boolean, Float, Integer, LargeBinary, Numeric, String

from kaname.storage.sql.schema import LongText

HARD_TEXT = "Ä ß İ 漢字 𝄞 😀 'quoted' \"\\ %s :x\n\t "
"""Letters whose case differs between languages, four-byte UTF-8, and what statements are made of."""
LONG = 300_000
"""Characters."""


def row_for(table: Table, number: int) -> dict[str, Any]:
    """A row in which references point at the row of the same number; two of different numbers agree in no column."""
    return {column.name: _value(column, number) for column in table.columns if not column.computed}


def _value(column: Column[Any], number: int) -> Any:
    kind = column.type
    if column.foreign_keys or column.primary_key:
        return number if isinstance(kind, Integer) else f"{number}Aa"
    if isinstance(kind, Boolean) or (isinstance(kind, Integer) and kind.__class__.__name__ == "TINYINT"):
        return number % 2 == 1
    if isinstance(kind, BigInteger):
        return 2**62 + number
    if isinstance(kind, Integer):
        return 2**31 - 1 - number
    if isinstance(kind, Float | Numeric):
        return 0.5 + number
    if isinstance(kind, LargeBinary):
        return bytes(range(256)) * number
    assert isinstance(kind, String), f"no value for {column.type!r} of {column}"
    return _text(kind, number)


def _text(kind: String, number: int) -> str:
    """As long as the column allows: to the last character where that is limited, 300,000 where it is long."""
    text = f"{number}" + HARD_TEXT
    if kind is LongText:
        return text + "𝄞" * LONG
    if kind.length is None:
        return text
    return (text * (kind.length // len(text) + 1))[: kind.length].rstrip() if kind.length >= 2 else str(number)
