"""What is put comes back, whole; many may read and write at the same time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import facts_strategies as wild
from helpers.facts_samples import START_NS, a_recording, a_segment, a_stream
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine

from aircheck.catalog import Catalog, CursorError, DatabaseError, Totals, Trouble
from aircheck.catalog.rows import TABLES, from_row, to_row
from aircheck.catalog.schema import metadata
from aircheck.facts import (
    EndReason,
    Event,
    EventKind,
    RecordingFacts,
    RecordingState,
    SegmentFacts,
    SegmentState,
    StreamFacts,
)

ENGINE = create_engine("sqlite://")
metadata.create_all(ENGINE)


@settings(deadline=None)
@given(facts=st.one_of(wild.streams, wild.recordings, wild.segments, wild.events))
def test_facts_survive_the_way_into_a_row_and_back(
    facts: StreamFacts | RecordingFacts | SegmentFacts | Event,
) -> None:
    table = TABLES[type(facts)]
    with ENGINE.connect() as connection:
        connection.execute(table.insert(), to_row(facts))
        row = connection.execute(table.select()).mappings().one()
        read = from_row(type(facts), row)
        connection.rollback()
    assert (replace(read, id=0) if isinstance(read, Event) else read) == facts


async def test_what_was_put_is_there_after_reopening(tmp_path: Path) -> None:
    stream = a_stream(ended_ns=START_NS + 1, end_reason=EndReason.DISCONNECTED)
    catalog = await Catalog.open(tmp_path / "c.db")
    await catalog.put_stream(stream)
    await catalog.put_recording(a_recording())
    await catalog.put_segment(a_segment())
    event = await catalog.add_event(
        Event(EventKind.GAP, START_NS, recording_id="r1", facts={"ms": [1, None]})
    )
    await catalog.close()

    catalog = await Catalog.open(str(tmp_path / "c.db"))
    assert await catalog.stream("m1") == stream
    assert await catalog.recording("r1") == a_recording()
    assert await catalog.segment("g1") == a_segment()
    assert await catalog.events() == (event,)
    assert (await catalog.stream("x"), await catalog.recording("x"), await catalog.segment("x")) == (
        None,
    ) * 3
    await catalog.close()


async def test_a_put_replaces_the_row_of_the_same_id_and_keeps_what_hangs_on_it(catalog: Catalog) -> None:
    await catalog.put_many(a_recording(), a_segment())
    done = a_recording(state=RecordingState.COMPLETE, size_bytes=7)
    await catalog.put_recording(done)
    await catalog.put_recording(done)
    assert await catalog.recording("r1") == done
    assert await catalog.segments("r1") == (a_segment(),)


async def test_put_many_takes_any_order_and_is_all_or_nothing(catalog: Catalog) -> None:
    happened = Event(EventKind.SEGMENT_CREATED, START_NS)
    await catalog.put_many(happened, a_segment(), a_recording(), a_stream())
    assert await catalog.segment("g1") == a_segment()
    assert await catalog.events() == (replace(happened, id=1),)

    orphan = a_segment("g2", recording_id="nobody's")
    with pytest.raises(DatabaseError) as raised:
        await catalog.put_many(a_recording("r2"), orphan, happened)
    assert raised.value.trouble is Trouble.REFUSED
    assert await catalog.recording("r2") is None
    assert len(await catalog.events()) == 1


async def test_one_refused_change_fails_alone_in_its_group(catalog: Catalog) -> None:
    orphan = catalog.put_segment(a_segment("g0", recording_id="nobody's"))
    unwritable = catalog.add_event(Event(EventKind.GAP, START_NS, facts={"path": Path("/")}))
    good = [catalog.put_recording(a_recording(f"r{number}")) for number in range(20)]
    results = await asyncio.gather(*good[:10], orphan, unwritable, *good[10:], return_exceptions=True)

    assert [isinstance(result, DatabaseError) for result in results] == [False] * 10 + [True] * 2 + [
        False
    ] * 10
    assert sum((await catalog.totals()).recordings.values()) == 20
    assert catalog.counters.errors == {Trouble.REFUSED: 2}


async def test_writers_who_come_together_share_a_commit(catalog: Catalog) -> None:
    writes = [catalog.put_many(a_recording(f"r{n}"), a_segment(f"g{n}", f"r{n}")) for n in range(500)]
    await asyncio.gather(*writes)
    assert catalog.counters.changes == 500
    assert catalog.counters.commits < 20
    assert (await catalog.totals()).segments == {SegmentState.GROWING: 500}


async def test_the_last_of_several_puts_in_a_group_wins(catalog: Catalog) -> None:
    await asyncio.gather(*(catalog.put_recording(a_recording(size_bytes=size)) for size in range(50)))
    assert await catalog.recording("r1") == a_recording(size_bytes=49)
    assert catalog.counters.commits == 1


async def test_events_get_rising_ids_in_the_order_of_the_calls(catalog: Catalog) -> None:
    events = await asyncio.gather(
        *(catalog.add_event(Event(EventKind.GAP, START_NS, facts={"n": n})) for n in range(300))
    )
    assert [event.facts["n"] for event in sorted(events, key=lambda event: event.id)] == list(range(300))
    assert await catalog.events(limit=1000) == tuple(events)


async def test_reading_on_from_the_last_event_misses_none(catalog: Catalog) -> None:
    seen: list[Event] = []

    async def write() -> None:
        for number in range(60):
            await catalog.add_event(Event(EventKind.GAP, number))

    writing = asyncio.gather(write(), write(), write())
    is_complete = False
    while not is_complete:
        is_written = writing.done()
        new = await catalog.events(after_id=seen[-1].id if seen else 0, limit=7)
        seen.extend(new)
        is_complete = is_written and not new
    await writing
    assert [event.id for event in seen] == list(range(1, 181))


async def test_events_can_be_asked_for_by_recording_and_kind(catalog: Catalog) -> None:
    gap = await catalog.add_event(Event(EventKind.GAP, 1, recording_id="r1"))
    await catalog.add_event(Event(EventKind.GAP, 1, recording_id="r2"))
    done = await catalog.add_event(Event(EventKind.RECORDING_COMPLETED, 2, recording_id="r1"))
    assert await catalog.events(recording_id="r1") == (gap, done)
    assert await catalog.events(kind=EventKind.RECORDING_COMPLETED) == (done,)
    assert await catalog.events(recording_id="r1", kind=EventKind.GAP, after_id=gap.id) == ()


async def test_the_latest_events_come_in_pages(catalog: Catalog) -> None:
    events = [await catalog.add_event(Event(EventKind.GAP, number)) for number in range(5)]
    first = await catalog.latest_events(limit=3)
    await catalog.add_event(Event(EventKind.GAP, 6))
    rest = await catalog.latest_events(limit=3, cursor=first.next_cursor)
    assert first.items + rest.items == tuple(reversed(events))
    assert rest.next_cursor is None


async def test_an_unfinished_write_is_finished_by_close(tmp_path: Path) -> None:
    catalog = await Catalog.open(tmp_path / "c.db")
    writing = asyncio.create_task(catalog.put_recording(a_recording()))
    await asyncio.sleep(0)
    await catalog.close()
    await writing
    with pytest.raises(DatabaseError) as raised:
        await catalog.put_recording(a_recording())
    assert raised.value.trouble is Trouble.CLOSED

    catalog = await Catalog.open(tmp_path / "c.db")
    assert await catalog.recording("r1") == a_recording()
    await catalog.close()


async def test_a_cancelled_caller_disturbs_nobody(catalog: Catalog) -> None:
    impatient = asyncio.create_task(catalog.put_recording(a_recording("r1")))
    patient = asyncio.create_task(catalog.put_recording(a_recording("r2")))
    await asyncio.sleep(0)
    impatient.cancel()
    await patient
    assert impatient.cancelled()
    assert await catalog.recording("r2") == a_recording("r2")


async def test_forgotten_recordings_take_their_segments_along(catalog: Catalog) -> None:
    for name in ("r1", "r2"):
        await catalog.put_many(a_recording(name), a_segment(f"{name}-g", name))
    forgetting = catalog.forget_recordings("r1", "no such")
    again = catalog.put_many(a_recording("r1"), a_segment("new", "r1"))
    await asyncio.gather(forgetting, again)
    assert await catalog.segment("r1-g") is None
    assert await catalog.segments("r1") == (a_segment("new", "r1"),)
    assert await catalog.segments("r2") == (a_segment("r2-g", "r2"),)


async def test_segments_come_in_their_order_by_recording_state_and_path(catalog: Catalog) -> None:
    await catalog.put_many(*(a_recording(name) for name in ("r1", "r2", "r3")))
    second = a_segment("g1", index=1, state=SegmentState.COMPLETE)
    first = a_segment("g2", index=0, state=SegmentState.FINALIZING)
    other = a_segment("g3", "r2", start_ns=START_NS - 1)
    await catalog.put_many(second, first, other)
    assert await catalog.segments("r1") == (first, second)
    assert await catalog.segments_of(["r2", "r3", "r1"]) == {"r1": (first, second), "r2": (other,), "r3": ()}
    unfinished = await catalog.segments_in_state(SegmentState.GROWING, SegmentState.FINALIZING)
    assert unfinished == (other, first)
    assert await catalog.segments_at([second.path, "/elsewhere"]) == {second.path: second}
    assert await catalog.segments_after("g1", 1) == (first,)
    assert await catalog.recordings_in_state(RecordingState.COMPLETE) == ()
    assert len(await catalog.recordings_in_state(RecordingState.RECORDING, RecordingState.ARMED)) == 3


async def test_the_segments_of_very_many_recordings_can_be_asked_for(catalog: Catalog) -> None:
    await catalog.put_many(a_recording(), a_segment())
    found = await catalog.segments_of(["r1", *(f"none-{number}" for number in range(40_000))])
    assert found["r1"] == (a_segment(),)
    assert len(found) == 40_001


async def test_the_newest_segment_of_a_file_name_is_found(catalog: Catalog) -> None:
    old = a_segment("g1", file_name="gate/a.mp4", start_ns=START_NS)
    new = a_segment("g2", file_name="gate/a.mp4", start_ns=START_NS + 1)
    await catalog.put_many(a_recording(), new, old)
    assert await catalog.segment_by_file_name("gate/a.mp4") == new
    assert await catalog.segment_by_file_name("a.mp4") is None


async def test_a_growing_segment_never_hides_a_complete_one_of_its_name(catalog: Catalog) -> None:
    final = a_segment("g1", file_name="a.mp4", start_ns=START_NS, state=SegmentState.COMPLETE)
    growing = a_segment("g2", file_name="a.mp4", start_ns=START_NS + 1)
    await catalog.put_many(a_recording(), final, growing)
    assert await catalog.segment_by_file_name("a.mp4") == final


async def test_totals_count_rows_and_bytes(catalog: Catalog) -> None:
    assert await catalog.totals() == Totals()
    await catalog.put_many(
        a_stream("m1"),
        a_stream("m2", ended_ns=START_NS),
        a_recording(),
        a_segment("g1", size_bytes=5, duration_ms=10, state=SegmentState.COMPLETE),
        a_segment("g2", size_bytes=6, duration_ms=20),
        Event(EventKind.GAP, START_NS),
    )
    assert await catalog.totals() == Totals(
        streams=2,
        live_streams=1,
        recordings={RecordingState.RECORDING: 1},
        segments={SegmentState.COMPLETE: 1, SegmentState.GROWING: 1},
        size_bytes=11,
        duration_ms=30,
        last_event_id=1,
    )


async def test_pages_hold_still_while_rows_are_added(catalog: Catalog) -> None:
    # Many share a start time, so that the id must decide.
    old = [a_recording(f"r{n:03}", start_ns=START_NS + n // 7) for n in range(100)]
    await catalog.put_many(*old)
    seen: list[RecordingFacts] = []
    cursor: str | None = None
    while True:
        page = await catalog.recordings(limit=9, cursor=cursor)
        seen.extend(page.items)
        newer = a_recording(f"new{len(seen)}", start_ns=START_NS + 1000 + len(seen))
        await catalog.put_recording(newer)
        if page.next_cursor is None:
            break
        cursor = page.next_cursor
    assert seen == list(reversed(old))


async def test_recordings_are_filtered_by_all_conditions(catalog: Catalog) -> None:
    wanted = a_recording("r1", stream_name="b", app="x", media_session_id="m7", state=RecordingState.FAILED)
    others = [
        replace(wanted, id="r2", stream_name="a"),
        replace(wanted, id="r3", app="y"),
        replace(wanted, id="r4", media_session_id="m8"),
        replace(wanted, id="r5", state=RecordingState.ARMED),
        replace(wanted, id="r6", start_ns=START_NS - 1),
        replace(wanted, id="r7", start_ns=START_NS + 1),
    ]
    await catalog.put_many(wanted, *others)
    page = await catalog.recordings(
        stream_name="b",
        app="x",
        media_session_id="m7",
        state=RecordingState.FAILED,
        since_ns=START_NS,
        until_ns=START_NS + 1,
    )
    assert page.items == (wanted,)


async def test_streams_are_filtered_and_paged(catalog: Catalog) -> None:
    live = a_stream("m1", published_ns=START_NS + 2)
    ended = a_stream("m2", ended_ns=START_NS + 5, end_reason=EndReason.UNPUBLISHED)
    other = a_stream("m3", name="door", published_ns=START_NS + 1)
    await catalog.put_many(live, ended, other)
    first = await catalog.streams(limit=2)
    assert first.items == (live, other)
    assert (await catalog.streams(limit=2, cursor=first.next_cursor)).items == (ended,)
    assert (await catalog.streams(is_live=False)).items == (ended,)
    assert (await catalog.streams(stream_name="gate", is_live=True)).items == (live,)
    assert (await catalog.streams(since_ns=START_NS + 1, until_ns=START_NS + 2)).items == (other,)


@pytest.mark.parametrize("cursor", ["", "x", "é", "AAAA", "MTIzNDU", "OTk5OTk5OTk5OTk5OTk5OTk5OTk6cg"])
async def test_a_cursor_that_no_page_gave_is_refused_with_remedy(catalog: Catalog, cursor: str) -> None:
    with pytest.raises(CursorError) as raised:
        await catalog.recordings(cursor=cursor)
    assert "next_cursor" in raised.value.remedy


async def test_reading_goes_on_beside_writing(catalog: Catalog) -> None:
    async def write() -> None:
        for number in range(50):
            await catalog.put_recording(a_recording(size_bytes=number))

    async def read() -> list[int]:
        sizes = []
        while not sizes or sizes[-1] < 49:
            facts = await catalog.recording("r1")
            sizes.append(facts.size_bytes if facts else -1)
        return sizes

    _, *readers = await asyncio.wait_for(asyncio.gather(write(), *(read() for _ in range(8))), 30)
    assert all(sizes == sorted(sizes) for sizes in readers)
