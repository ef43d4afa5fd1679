"""Every table of every store, on each kind of database: what is written is what is read."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection, String, Table, delete, insert, select
from sqlalchemy.exc import IntegrityError

import kaname.access.store
import kaname.batch.store
import kaname.models.store
import kaname.stores  # noqa: F401  (adds all tables to the metadata)
from kaname.storage.sql.schema import metadata
from tests.databases import open_at
from tests.storage.rows import row_for

SINGLE = ("journal_head", "schema_rule", "switches")
"""Tables whose one row the migrations made."""


def test_every_table_keeps_every_value(url: str) -> None:
    """Extreme numbers, long texts, four-byte characters and absent values come back as they went in; what must be
    unique is, to the case of a letter."""
    database = open_at(url)
    with database.write() as conn:
        for name in SINGLE:
            if name in metadata.tables:
                conn.execute(delete(metadata.tables[name]))
        for table in metadata.sorted_tables:
            _keep(conn, table, row_for(table, 1))
        for table in metadata.sorted_tables:
            _keep(conn, table, row_for(table, 2) | {c.name: None for c in table.columns if _may_be_absent(c)})
    for table in metadata.sorted_tables:
        for key in _text_keys(table):
            with pytest.raises(IntegrityError), database.write() as conn:
                conn.execute(insert(table).values(**row_for(table, 1)))
            with database.write() as conn:
                other = {**row_for(table, 1), key: _other_case(row_for(table, 1)[key])}
                unique = _unique_columns(table) - {key}
                fresh = row_for(table, 3)
                conn.execute(insert(table).values(**other | {name: fresh[name] for name in unique}))
    database.close()


def _other_case(text: str) -> str:
    """The last letter that has two cases in ASCII, in the other one; where there is none, another text."""
    at = max((i for i, letter in enumerate(text) if letter.isascii() and letter.isalpha()), default=None)
    return text[:-1] + "a" if at is None else text[:at] + text[at].swapcase() + text[at + 1 :]


def _keep(conn: Connection, table: Table, row: dict[str, Any]) -> None:
    conn.execute(insert(table).values(**row))
    keys = [column == row[column.name] for column in table.primary_key]
    found = conn.execute(select(table).where(*keys)).one()
    assert dict(found._mapping) == row, table.name


def _may_be_absent(column: Any) -> bool:
    return bool(column.nullable) and not column.foreign_keys


def _text_keys(table: Table) -> list[str]:
    """Columns of text that alone must be unique."""
    alone = [c for c in table.columns if isinstance(c.type, String) and (c.unique or _is_whole_key(table, c.name))]
    return [column.name for column in alone if not column.foreign_keys]


def _is_whole_key(table: Table, name: str) -> bool:
    return [column.name for column in table.primary_key] == [name]


def _unique_columns(table: Table) -> set[str]:
    return {c.name for c in table.columns if c.unique or c.primary_key}
