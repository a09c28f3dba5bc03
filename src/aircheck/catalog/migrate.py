"""Migrate: bring a database to the schema of this program, in one transaction, from any earlier version.

The steps are Alembic revisions in `migrations/versions`, numbered upwards. They need nothing but the
database: `alembic upgrade head --sql` prints them for those who must run them by hand.
"""

from __future__ import annotations

from alembic.command import upgrade
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect
from sqlalchemy.schema import SetColumnComment, SetTableComment

from aircheck.catalog.schema import metadata
from aircheck.catalog.trouble import DatabaseError, Trouble

VERSION_TABLE = "aircheck_schema_version"
"""Alembic's own default name might be another program's, in a database that is shared."""


def config() -> Config:
    """Alembic's settings; there is no ini file."""
    settings = Config()
    settings.set_main_option("script_location", "aircheck.catalog:migrations")
    settings.set_main_option("path_separator", "os")
    return settings


def newest_version() -> str:
    """The version this program writes, such as "0001"."""
    return ScriptDirectory.from_config(config()).get_current_head() or ""


def migrate(connection: Connection, to_version: str = "head") -> None:
    """Run what is missing, within the connection's transaction. Raises `DatabaseError`."""
    version = database_version(connection)
    if version == newest_version():
        return
    _refuse_what_is_not_ours(connection, version)
    settings = config()
    settings.attributes["connection"] = connection
    upgrade(settings, to_version)
    _comment(connection)


def database_version(connection: Connection) -> str | None:
    """The version that the database is of; None before the first migration."""
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return context.get_current_revision()


def _refuse_what_is_not_ours(connection: Connection, version: str | None) -> None:
    known = {step.revision for step in ScriptDirectory.from_config(config()).walk_revisions()}
    if version is not None and version not in known:
        raise DatabaseError(
            f"the catalogue is of schema {version}; this program knows schemas up to {newest_version()}",
            Trouble.NEWER,
        )
    if version is None and (taken := set(inspect(connection).get_table_names()) & set(metadata.tables)):
        raise DatabaseError(
            f"the database holds tables of another program: {', '.join(sorted(taken))}", Trouble.FOREIGN
        )


def _comment(connection: Connection) -> None:
    """Put the schema's comments where the database keeps such, so that migrations need not repeat them."""
    if not connection.dialect.supports_comments:
        return
    for table in metadata.sorted_tables:
        connection.execute(SetTableComment(table))
        for column in table.c:
            connection.execute(SetColumnComment(column))
