"""Any earlier database becomes one of today; a later or foreign one is left alone."""

from __future__ import annotations

import asyncio
import io
import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.command import upgrade
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from helpers.facts_samples import a_recording, a_segment
from sqlalchemy import Connection, create_engine

from aircheck.catalog import Catalog, DatabaseError, Trouble
from aircheck.catalog.migrate import VERSION_TABLE, config, database_version, migrate, newest_version
from aircheck.catalog.schema import metadata

STEPS = list(ScriptDirectory.from_config(config()).walk_revisions())
VERSIONS = [None, *sorted(step.revision for step in STEPS)]


def _tables(path: Path) -> set[str]:
    connection = sqlite3.connect(path)
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    connection.close()
    return names


def _execute(path: Path, script: str) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(script)
    connection.close()


def _differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(
        connection,
        opts={"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True},
    )
    return list(compare_metadata(context, metadata))


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_database_of_any_version_is_brought_up_to_date(tmp_path: Path, version: str | None) -> None:
    path = tmp_path / "c.db"
    engine = create_engine(f"sqlite:///{path}")
    if version is not None:
        with engine.begin() as connection:
            migrate(connection, version)
            assert database_version(connection) == version

    catalog = await Catalog.open(path)
    await catalog.put_many(a_recording(), a_segment())
    await catalog.close()
    with engine.connect() as connection:
        assert database_version(connection) == newest_version()
        assert _differences(connection) == []
    engine.dispose()


def test_versions_are_numbered_upwards_in_one_line() -> None:
    assert [step.revision for step in reversed(STEPS)] == [f"{n:04}" for n in range(1, len(STEPS) + 1)]


async def test_a_database_of_a_newer_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    await (await Catalog.open(path)).close()
    _execute(path, f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(DatabaseError, match="9999") as raised:
        await Catalog.open(path)
    assert raised.value.trouble is Trouble.NEWER
    assert "later" in raised.value.remedy


async def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    _execute(path, "CREATE TABLE events (what TEXT)")
    with pytest.raises(DatabaseError, match="events") as raised:
        await Catalog.open(path)
    assert raised.value.trouble is Trouble.FOREIGN
    assert _tables(path) == {"events"}


async def test_a_migration_that_fails_in_the_middle_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    # The last index of the first version has its name taken.
    _execute(path, "CREATE TABLE alien (x TEXT); CREATE INDEX ix_events_kind_id ON alien (x)")
    with pytest.raises(DatabaseError):
        await Catalog.open(path)
    assert _tables(path) == {"alien"}


async def test_nodes_that_open_an_empty_database_together_do_not_collide(tmp_path: Path) -> None:
    catalogs = await asyncio.gather(*(Catalog.open(tmp_path / "c.db") for _ in range(5)))
    await asyncio.gather(*(catalog.put_recording(a_recording(f"r{n}")) for n, catalog in enumerate(catalogs)))
    assert sum((await catalogs[0].totals()).recordings.values()) == 5
    for catalog in catalogs:
        await catalog.close()


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_the_steps_can_be_printed_as_sql(dialect: str) -> None:
    settings = config()
    settings.output_buffer = output = io.StringIO()
    settings.attributes["dialect"] = dialect
    upgrade(settings, "head", sql=True)
    for table in metadata.tables:
        assert f"CREATE TABLE {table} (" in output.getvalue()
