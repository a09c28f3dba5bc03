"""kill -9 while writing: the database opens, and what was acknowledged is there, whole."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.facts_samples import START_NS

from aircheck.catalog import Catalog
from aircheck.facts import RecordingState

WRITER = """
import asyncio, sys
sys.path.insert(0, sys.argv[2])
from helpers.facts_samples import START_NS, a_recording, a_segment
from aircheck.catalog import Catalog
from aircheck.facts import Event, EventKind

async def write(catalog, worker):
    for number in range(10_000):
        name = f"{worker}-{number}"
        await catalog.put_many(
            a_recording(name, size_bytes=number), a_segment(name, name), Event(EventKind.GAP, START_NS, name)
        )
        print(name, flush=True)

async def main():
    catalog = await Catalog.open(sys.argv[1])
    await asyncio.gather(*(write(catalog, worker) for worker in range(10)))

asyncio.run(main())
"""


@pytest.mark.parametrize("round_number", range(3))
async def test_acknowledged_rows_survive_a_killed_writer(tmp_path: Path, round_number: int) -> None:
    path = tmp_path / "c.db"
    acknowledged = _write_until_killed(path, lines=random.Random(round_number).randrange(50, 400))

    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()

    catalog = await Catalog.open(path)
    segments = await catalog.segments_of(acknowledged)
    events = {event.stream_name for event in await _all_events(catalog)}
    for name in acknowledged:
        recording = await catalog.recording(name)
        assert recording is not None
        assert (recording.state, recording.start_ns) == (RecordingState.RECORDING, START_NS)
        assert recording.size_bytes == int(name.partition("-")[2])
        assert len(segments[name]) == 1
        assert name in events
    # A change is whole even if nobody was told.
    assert {each.id for each in await catalog.recordings_in_state(RecordingState.RECORDING)} == events
    await catalog.close()


def _write_until_killed(path: Path, lines: int) -> list[str]:
    tests = str(Path(__file__).parents[1])
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), tests], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    with writer, writer.stdout:
        told = [writer.stdout.readline().strip() for _ in range(lines)]
        os.kill(writer.pid, signal.SIGKILL)
        told += [line.strip() for line in writer.stdout if line.endswith("\n")]
    assert writer.returncode == -signal.SIGKILL
    return told


async def _all_events(catalog: Catalog) -> list[object]:
    events = []
    while more := await catalog.events(after_id=events[-1].id if events else 0, limit=1000):
        events.extend(more)
    return events
