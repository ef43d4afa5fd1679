"""Tenants, and which one a key belongs to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from kaname.storage.sql.migrations.once import add_column

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table and the column."""
    op.create_table(
        "tenants",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(64), nullable=False, unique=True),
        sa.Column("rate_rows_per_s", sa.Float, nullable=True),
        sa.Column("burst_rows", sa.BigInteger, nullable=True),
        sa.Column("rows_per_day", sa.BigInteger, nullable=True),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    add_column("api_keys", sa.Column("tenant", sa.String(64), nullable=True))


def downgrade() -> None:
    """Drop both."""
    with op.batch_alter_table("api_keys") as table:
        table.drop_column("tenant")
    op.drop_table("tenants")
