"""Nodes of a cluster, and the change that all of them answer from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from kaname.storage.sql.migrations.once import insert_row

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "nodes",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("address", sa.String(255), nullable=False),
        sa.Column("release", sa.String(32), nullable=False),
        sa.Column("workers", sa.Integer, nullable=False),
        sa.Column("loading", sa.BigInteger, nullable=False),
        sa.Column("prepared", sa.BigInteger, nullable=False),
        sa.Column("applied", sa.BigInteger, nullable=False),
        sa.Column("seen_us", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "switches",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
    )
    insert_row("switches", id=1, number=0, at_us=0)


def downgrade() -> None:
    """Drop both tables."""
    for name in ("switches", "nodes"):
        op.drop_table(name)
