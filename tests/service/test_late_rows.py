"""Rows that come while the catalogue is locked by somebody else are written late, and none is lost."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.facts_samples import a_recording, a_segment, a_stream
from helpers.patience import PATIENCE_S, until

from aircheck.catalog import Catalog
from aircheck.facts import Event, EventKind, RecordingState, SegmentState
from aircheck.service import late_rows
from aircheck.service.journal import CatalogJournal

STREAM = a_stream("s1")
RECORDING = a_recording("r1", media_session_id="s1", state=RecordingState.RECORDING)
SEGMENT = replace(a_segment("f1"), recording_id="r1", state=SegmentState.GROWING)
EVENT = Event(EventKind.SEGMENT_CREATED, 1, segment_id="f1", recording_id="r1")


@pytest.fixture
async def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Catalog]:
    monkeypatch.setattr(late_rows, "RETRY_S", 0.1)
    catalog = await Catalog.open(tmp_path / "catalog.db", busy_timeout_s=0.02)
    yield catalog
    await catalog.close()


class Lock:
    """Somebody who holds the database open for writing."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("BEGIN IMMEDIATE")

    def release(self) -> None:
        self._connection.close()


async def until_written(journal: CatalogJournal) -> None:
    await until(lambda: not len(journal._late))


async def test_rows_of_a_locked_catalogue_are_written_when_it_is_free(
    catalog: Catalog, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = CatalogJournal(catalog)
    lock = Lock(tmp_path / "catalog.db")
    await journal.put_stream(STREAM)
    await journal.put_recording(RECORDING)
    await journal.put_segment(SEGMENT)
    await journal.add_event(EVENT)
    complete = replace(SEGMENT, state=SegmentState.COMPLETE, size_bytes=7)
    await journal.put_segment(complete)
    assert journal.errors == 1
    await asyncio.sleep(0.3)
    lock.release()
    await until_written(journal)
    assert await catalog.stream("s1") == STREAM
    assert await catalog.recording("r1") == RECORDING
    assert await catalog.segment("f1") == complete
    (event,) = await catalog.events()
    assert event.segment_id == "f1"
    said = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(said) == 2, "one line of the catalogue, one of the journal, however often it is tried"
    await journal.close()


async def test_a_newer_row_is_not_overtaken_by_a_late_one(catalog: Catalog, tmp_path: Path) -> None:
    journal = CatalogJournal(catalog)
    await journal.put_recording(RECORDING)
    lock = Lock(tmp_path / "catalog.db")
    await journal.put_segment(SEGMENT)
    lock.release()
    for size_bytes in range(50):
        await journal.put_segment(replace(SEGMENT, size_bytes=size_bytes))
        await asyncio.sleep(0.005)
    await until_written(journal)
    segment = await catalog.segment("f1")
    assert segment is not None
    assert segment.size_bytes == 49
    await journal.close()


async def test_a_row_that_can_never_be_written_does_not_keep_back_the_others(
    catalog: Catalog, tmp_path: Path
) -> None:
    journal = CatalogJournal(catalog)
    lock = Lock(tmp_path / "catalog.db")
    await journal.put_segment(replace(SEGMENT, id="orphan", recording_id="nobody"))
    await journal.put_recording(RECORDING)
    await journal.put_segment(SEGMENT)
    lock.release()
    await until_written(journal)
    assert await catalog.segment("f1") == SEGMENT
    assert await catalog.segment("orphan") is None
    await journal.close()


async def test_closing_writes_what_is_late(catalog: Catalog, tmp_path: Path) -> None:
    journal = CatalogJournal(catalog)
    lock = Lock(tmp_path / "catalog.db")
    await journal.put_recording(RECORDING)
    lock.release()
    await journal.close()
    assert await catalog.recording("r1") == RECORDING


async def test_closing_does_not_wait_for_a_catalogue_that_stays_locked(
    catalog: Catalog, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = CatalogJournal(catalog)
    lock = Lock(tmp_path / "catalog.db")
    await journal.put_recording(RECORDING)
    async with asyncio.timeout(PATIENCE_S):
        await journal.close()
    lock.release()
    assert "aircheck check --repair" in caplog.text
