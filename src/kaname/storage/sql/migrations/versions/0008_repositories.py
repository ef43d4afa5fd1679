"""Repositories that models are taken from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from kaname.storage.sql.schema import LongText

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "repositories",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("hash", sa.String(64), nullable=False, unique=True),
        sa.Column("path", LongText, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("fault", LongText, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "repository_models",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("repository_id", sa.Integer, sa.ForeignKey("repositories.id"), nullable=False),
        sa.Column("model", sa.String(255), nullable=False),
        sa.Column("applied", LongText, nullable=False),
        sa.Column("report", LongText, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("repository_id", "model"),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("repository_models")
    op.drop_table("repositories")
