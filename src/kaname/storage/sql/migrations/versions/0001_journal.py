"""The change journal and the row that numbers it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from kaname.storage.sql.migrations.once import insert_row
from kaname.storage.sql.schema import LongText

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create both tables, with the number at 0."""
    op.create_table(
        "journal_head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, nullable=False),
    )
    insert_row("journal_head", id=1, number=0)
    op.create_table(
        "journal",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.Column("who", sa.String(128), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("detail", LongText, nullable=False),
    )


def downgrade() -> None:
    """Drop both tables."""
    op.drop_table("journal")
    op.drop_table("journal_head")
