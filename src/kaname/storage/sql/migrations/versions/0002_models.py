"""Models, their versions, the history of promotions, and what was last applied from declarations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from kaname.storage.sql.schema import LongText

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the four tables."""
    op.create_table(
        "models",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(128), nullable=False, unique=True),
        sa.Column("loaded", sa.Boolean, nullable=False),
        sa.Column("overrides", LongText, nullable=False),
        sa.Column("next_version", sa.Integer, nullable=False),
        sa.Column("changed", sa.BigInteger, nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "versions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("model_id", sa.Integer, sa.ForeignKey("models.id"), nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("artefact", sa.String(64), nullable=False, index=True),
        sa.Column("source", sa.String(32), nullable=False),
        sa.Column("runtime", sa.String(32), nullable=False),
        sa.Column("signature", LongText, nullable=False),
        sa.Column("profile", LongText, nullable=False),
        sa.Column("choices", LongText, nullable=False),
        sa.Column("sample", LongText, nullable=False),
        sa.Column("metrics", LongText, nullable=False),
        sa.Column("tags", LongText, nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("model_id", "version"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "promotions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("model_id", sa.Integer, sa.ForeignKey("models.id"), nullable=False, index=True),
        sa.Column("version_id", sa.Integer, sa.ForeignKey("versions.id"), nullable=False, index=True),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "declarations",
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("applied", LongText, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    """Drop the four tables."""
    for table in ("declarations", "promotions", "versions", "models"):
        op.drop_table(table)
