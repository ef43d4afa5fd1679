"""The rule for older code, and whose batch jobs are whose."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from kaname.storage.sql.migrations.once import add_column, insert_row

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create a table and a column."""
    op.create_table(
        "schema_rule",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("oldest", sa.String(4), nullable=False),
    )
    insert_row("schema_rule", id=1, oldest=revision)
    add_column("batch_jobs", sa.Column("node", sa.String(32), nullable=True))


def downgrade() -> None:
    """Drop both."""
    with op.batch_alter_table("batch_jobs") as table:
        table.drop_column("node")
    op.drop_table("schema_rule")
