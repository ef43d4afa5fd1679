"""The priority of a key's requests."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from kaname.storage.sql.migrations.once import add_column

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; keys made before have normal priority."""
    add_column("api_keys", sa.Column("priority", sa.String(16), nullable=False, server_default="normal"))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("api_keys", "priority")
