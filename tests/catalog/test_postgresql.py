"""The same catalogue in PostgreSQL. Runs where `psycopg` and PostgreSQL's `initdb` are installed."""

from __future__ import annotations

import asyncio
import getpass
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from helpers.facts_samples import START_NS, a_recording, a_segment, a_stream
from helpers.patience import PATIENCE_S
from sqlalchemy import text

from aircheck.catalog import Catalog, DatabaseError, Totals, Trouble
from aircheck.catalog.rows import to_row
from aircheck.facts import Event, EventKind, RecordingState, SegmentState

pytest.importorskip("psycopg")
INITDB, PG_CTL = shutil.which("initdb"), shutil.which("pg_ctl")
if INITDB is None or PG_CTL is None:
    pytest.skip("PostgreSQL is not installed", allow_module_level=True)

# PostgreSQL refuses to run as root.
USER = "nobody" if os.geteuid() == 0 else getpass.getuser()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Address of a server of our own, reached by a socket in its own folder."""
    folder = Path(tempfile.mkdtemp(prefix="aircheck-pg-"))
    shutil.chown(folder, USER)
    data = folder / "data"
    _run(str(INITDB), "-D", str(data), "-U", "aircheck", "-A", "trust", "-E", "UTF8", "--no-sync")
    options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
    _run(str(PG_CTL), "-D", str(data), "-w", "-l", str(folder / "log"), "-o", options, "start")
    try:
        yield f"postgresql://aircheck@/postgres?host={folder}"
    finally:
        _run(str(PG_CTL), "-D", str(data), "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder)


def _run(*command: str) -> None:
    done = subprocess.run(
        command, user=USER, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/", timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()


@pytest_asyncio.fixture
async def catalog(server: str) -> AsyncIterator[Catalog]:
    opened = await Catalog.open(server, busy_timeout_s=0.3)
    async with opened._database.writing() as connection:
        await connection.execute(text("TRUNCATE streams, recordings, segments, events RESTART IDENTITY"))
    yield opened
    await opened.close()


async def test_facts_come_back_as_they_were(catalog: Catalog) -> None:
    event = Event(EventKind.GAP, START_NS, facts={"ms": [1, None, "ü"]})
    segment = a_segment(state=SegmentState.COMPLETE, size_bytes=2**40, duration_ms=5)
    await catalog.put_many(a_stream(), a_recording(), segment, event)
    await catalog.put_recording(a_recording())
    assert await catalog.stream("m1") == a_stream()
    assert await catalog.recording("r1") == a_recording()
    assert await catalog.segments("r1") == (segment,)
    assert await catalog.events() == (replace(event, id=1),)
    assert await catalog.totals() == Totals(
        streams=1,
        live_streams=1,
        recordings={RecordingState.RECORDING: 1},
        segments={SegmentState.COMPLETE: 1},
        size_bytes=2**40,
        duration_ms=5,
        last_event_id=1,
    )
    await catalog.forget_recordings("r1")
    assert await catalog.segment("g1") is None


async def test_pages_follow_each_other(catalog: Catalog) -> None:
    old = [a_recording(f"r{n:03}", start_ns=START_NS + n // 7) for n in range(50)]
    await catalog.put_many(*old)
    seen = []
    page = await catalog.recordings(limit=9)
    seen += page.items
    while page.next_cursor is not None:
        page = await catalog.recordings(limit=9, cursor=page.next_cursor)
        seen += page.items
    assert seen == list(reversed(old))


async def test_a_refused_change_fails_alone(catalog: Catalog) -> None:
    results = await asyncio.gather(
        catalog.put_recording(a_recording("r1")),
        catalog.put_segment(a_segment(recording_id="nobody's")),
        catalog.put_recording(a_recording("r2")),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [type(None), DatabaseError, type(None)]
    assert catalog.counters.errors == {Trouble.REFUSED: 1}


async def test_an_event_is_not_seen_before_those_with_lower_ids(catalog: Catalog, server: str) -> None:
    first, second = Event(EventKind.GAP, 1), Event(EventKind.GAP, 2)
    async with opened(server) as other, opened(server) as waiting:
        async with other._database.writing() as connection:
            await other._writer._append(connection, [to_row(first)])
            adding = asyncio.create_task(waiting.add_event(second))
            await asyncio.sleep(0.1)
            assert await catalog.events() == ()
        assert await adding == replace(second, id=2)
    assert await catalog.events() == (replace(first, id=1), replace(second, id=2))


@asynccontextmanager
async def opened(server: str) -> AsyncIterator[Catalog]:
    """Another node's, which waits for as long as it has to."""
    catalog = await Catalog.open(server, busy_timeout_s=PATIENCE_S)
    yield catalog
    await catalog.close()


async def test_nodes_open_together_and_find_the_comments(catalog: Catalog, server: str) -> None:
    async with catalog._database.writing() as connection:
        await connection.execute(
            text("DROP TABLE segments, recordings, streams, events, aircheck_schema_version")
        )
    nodes = await asyncio.gather(*(Catalog.open(server) for _ in range(4)))
    async with catalog._database.reading() as connection:
        comment = await connection.scalar(text("SELECT col_description('segments'::regclass, 1)"))
    assert comment.startswith("Given by us")
    for node in nodes:
        await node.close()


async def test_a_lock_held_too_long_is_told(catalog: Catalog, server: str) -> None:
    other = await Catalog.open(server)
    await catalog.put_recording(a_recording())
    async with other._database.writing() as connection:
        await connection.execute(text("LOCK TABLE recordings IN EXCLUSIVE MODE"))
        with pytest.raises(DatabaseError) as raised:
            await catalog.put_recording(a_recording())
    assert raised.value.trouble is Trouble.LOCKED
    await catalog.put_recording(a_recording())
    await other.close()


async def test_a_server_that_is_not_there_is_told(server: str, tmp_path: Path) -> None:
    with pytest.raises(DatabaseError) as raised:
        await Catalog.open(f"postgresql://aircheck:secret@/postgres?host={tmp_path}")
    assert raised.value.trouble is Trouble.UNREACHABLE
    assert "secret" not in raised.value.message
