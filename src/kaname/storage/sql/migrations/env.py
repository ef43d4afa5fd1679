"""How Alembic runs here: on the connection, and within the transaction, that `upgrade.to_head` hands over."""

from __future__ import annotations

from alembic import context

from kaname.storage.sql.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
