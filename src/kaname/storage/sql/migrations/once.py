"""Steps of a migration that may be taken twice: MariaDB commits each, so one that was cut short is begun anew."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op


def add_column(table: str, column: sa.Column[Any]) -> None:
    """Add a column unless it is there."""
    if column.name not in {found["name"] for found in sa.inspect(op.get_bind()).get_columns(table)}:
        op.add_column(table, column)


def insert_row(table: str, **values: object) -> None:
    """Add a row unless one with this `id` is there."""
    target = sa.table(table, *map(sa.column, values))
    if op.get_bind().execute(sa.select(target.c.id).where(target.c.id == values["id"])).first() is None:
        op.get_bind().execute(sa.insert(target).values(**values))
