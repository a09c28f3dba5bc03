"""A database in trouble: errors with remedies, counted, and a writer that goes on."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from pathlib import Path

import pytest
from helpers.facts_samples import a_recording
from sqlalchemy import text

from aircheck.catalog import Catalog, DatabaseError, Trouble
from aircheck.catalog.trouble import REMEDIES
from aircheck.errors import CatalogError


async def _trouble_of(writing: object) -> Trouble:
    with pytest.raises(DatabaseError) as raised:
        await writing  # type: ignore[misc]
    assert raised.value.remedy == REMEDIES[raised.value.trouble]
    return raised.value.trouble


async def test_a_locked_database_fails_all_who_wait_and_then_goes_on(
    catalog: Catalog, tmp_path: Path
) -> None:
    other = sqlite3.connect(tmp_path / "catalogue.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writes = [_trouble_of(catalog.put_recording(a_recording(f"r{number}"))) for number in range(5)]
    assert set(await asyncio.gather(*writes)) == {Trouble.LOCKED}
    assert catalog.counters.errors == {Trouble.LOCKED: 1}
    assert "locked" in catalog.counters.last_error
    assert await catalog.recording("r0") is None  # reading is not hindered

    other.execute("ROLLBACK")
    other.close()
    await catalog.put_recording(a_recording())
    assert await catalog.recording("r1") == a_recording()


async def test_a_full_disk_is_told_and_survived(catalog: Catalog) -> None:
    async with catalog._database.writing() as connection:
        pages = await connection.scalar(text("PRAGMA page_count"))
        await connection.execute(text(f"PRAGMA max_page_count = {pages + 1}"))
    writes = [_trouble_of(catalog.put_recording(a_recording(f"r{n}", error="x" * 500))) for n in range(100)]
    assert set(await asyncio.gather(*writes)) == {Trouble.DISK_FULL}

    async with catalog._database.writing() as connection:
        await connection.execute(text("PRAGMA max_page_count = 100000"))
    await catalog.put_recording(a_recording())
    assert await catalog.recording("r1") == a_recording()


async def test_a_file_that_is_no_database_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.db"
    path.write_bytes(b"not a database, surely not. " * 100)
    assert await _trouble_of(Catalog.open(path)) is Trouble.CORRUPT
    assert path.read_bytes() == b"not a database, surely not. " * 100


async def test_a_database_damaged_while_open_is_told(catalog: Catalog, tmp_path: Path) -> None:
    await catalog.put_recording(a_recording())
    async with catalog._database.writing() as connection:
        await connection.execute(text("PRAGMA writable_schema = ON"))
        await connection.execute(text("UPDATE sqlite_schema SET rootpage = 9999 WHERE name = 'recordings'"))
    # A connection reads the schema when it is opened.
    await catalog._database._reader.dispose()
    assert await _trouble_of(catalog.recording("r1")) is Trouble.CORRUPT


async def test_a_row_that_somebody_else_wrote_is_named(catalog: Catalog) -> None:
    await catalog.put_recording(a_recording())
    async with catalog._database.writing() as connection:
        await connection.execute(text("UPDATE recordings SET state = 'asleep'"))
    with pytest.raises(CatalogError, match=r"r1.*recordings.*state.*asleep"):
        await catalog.recording("r1")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_read_only_folder_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert await _trouble_of(Catalog.open(tmp_path / "c.db")) in (Trouble.UNREACHABLE, Trouble.READ_ONLY)


@pytest.mark.parametrize(
    "address", ["/no/such/folder/c.db", "", "sqlite://", "sqlite:///:memory:", "what://ever", "::://"]
)
async def test_an_address_that_cannot_be_used_is_told_with_remedy(address: str) -> None:
    with pytest.raises(CatalogError) as raised:
        await Catalog.open(address)
    assert raised.value.remedy


async def test_a_password_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(CatalogError) as raised:
        await Catalog.open("mysql://user:secret@db/x")
    assert "secret" not in raised.value.message
