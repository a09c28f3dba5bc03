"""Run by Alembic around each upgrade, on the connection of `migrate`, or to print SQL (`--sql`)."""

from __future__ import annotations

from alembic import context

from aircheck.catalog.migrate import VERSION_TABLE
from aircheck.catalog.schema import metadata

if context.is_offline_mode():
    context.configure(
        dialect_name=context.config.attributes["dialect"],
        target_metadata=metadata,
        version_table=VERSION_TABLE,
        literal_binds=True,
    )
else:
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=metadata,
        version_table=VERSION_TABLE,
        # SQLite cannot alter a column: Alembic then copies the table.
        render_as_batch=True,
    )

with context.begin_transaction():
    context.run_migrations()
