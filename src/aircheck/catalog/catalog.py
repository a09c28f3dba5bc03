"""Catalog: what the server remembers of streams, recordings, segments and events.

Writes return when they would survive a power cut (see `writer` for why that is cheap), reads see one state of
the database each. Every error is a `CatalogError` with a remedy.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Select, case, func, select

from aircheck.catalog.database import Database
from aircheck.catalog.page import Keyset, Page, clamp_limit, parse_cursor, serialize_cursor
from aircheck.catalog.rows import TABLES, Kept, KeptT, from_row, to_row
from aircheck.catalog.schema import events, recordings, segments, streams
from aircheck.catalog.writer import Change, Writer, WriterCounters
from aircheck.facts import (
    Event,
    EventKind,
    RecordingFacts,
    RecordingState,
    SegmentFacts,
    SegmentState,
    StreamFacts,
)

_MAX_VALUES = 500
"""Values of one `IN (…)`: databases have limits, and a list this long is one index scan each anyway."""

_STREAMS = Keyset(streams.c.published_ns, streams.c.id)
_RECORDINGS = Keyset(recordings.c.start_ns, recordings.c.id)


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts for the metrics. Sizes and durations are sums over all segments, whatever their state."""

    streams: int = 0
    live_streams: int = 0
    recordings: dict[RecordingState, int] = field(default_factory=dict)
    segments: dict[SegmentState, int] = field(default_factory=dict)
    size_bytes: int = 0
    duration_ms: int = 0
    last_event_id: int = 0


class Catalog:
    """Made by `open`; belongs to one event loop. Any number of tasks may use it at the same time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._writer = Writer(database)

    @classmethod
    async def open(cls, url_or_path: str | Path, *, busy_timeout_s: float = 10.0) -> Catalog:
        """Open, create or migrate the catalogue: a path is a SQLite file, else `postgresql://…`.

        Raises `CatalogError`, among others when a newer program has written it. `busy_timeout_s` is how long
        a write waits for another process that is writing.
        """
        return cls(await Database.open(url_or_path, busy_timeout_s=busy_timeout_s))

    async def close(self) -> None:
        """Write what is queued, then let go of the database."""
        await self._writer.close()
        await self._database.close()

    @property
    def counters(self) -> WriterCounters:
        return self._writer.counters

    # Writing: each returns when the facts are durable.

    async def put_stream(self, facts: StreamFacts) -> None:
        """Insert, or replace the row of the same id; so do the other `put`s."""
        await self.put_many(facts)

    async def put_recording(self, facts: RecordingFacts) -> None:
        await self.put_many(facts)

    async def put_segment(self, facts: SegmentFacts) -> None:
        """Its recording must have been put before."""
        await self.put_many(facts)

    async def put_many(self, *facts: Kept | Event) -> None:
        """All or nothing, in one transaction; order does not matter. Events are added at their end."""
        change = Change()
        for each in facts:
            if isinstance(each, Event):
                change.events.append(to_row(replace(each, id=0)))
            else:
                change.rows.append((TABLES[type(each)], to_row(each)))
        await self._writer.write(change)

    async def add_event(self, event: Event) -> Event:
        """Append an event; returns it with its id, higher than that of every event visible so far."""
        (event_id,) = await self._writer.write(Change(events=[to_row(replace(event, id=0))]))
        return replace(event, id=event_id)

    async def forget_recordings(self, *recording_ids: str) -> None:
        """Remove recordings and their segments from the catalogue; delete the files before. Events stay."""
        await self._writer.write(Change(forgotten=list(recording_ids)))

    # Reading one.

    async def stream(self, stream_id: str) -> StreamFacts | None:
        return await self._one(StreamFacts, select(streams).where(streams.c.id == stream_id))

    async def recording(self, recording_id: str) -> RecordingFacts | None:
        return await self._one(RecordingFacts, select(recordings).where(recordings.c.id == recording_id))

    async def segment(self, segment_id: str) -> SegmentFacts | None:
        return await self._one(SegmentFacts, select(segments).where(segments.c.id == segment_id))

    async def segment_by_file_name(self, file_name: str) -> SegmentFacts | None:
        """The segment of that name for downloads: a complete one first, then the newest.

        Names may be used again after files were deleted, and a growing file only has its name in prospect.
        """
        named = select(segments).where(segments.c.file_name == file_name)
        is_prospect = case((segments.c.state == SegmentState.COMPLETE.value, 0), else_=1)
        return await self._one(SegmentFacts, named.order_by(is_prospect, segments.c.start_ns.desc()).limit(1))

    # Reading lists, newest first, a page at a time.

    async def streams(
        self,
        *,
        stream_name: str | None = None,
        is_live: bool | None = None,
        since_ns: int | None = None,
        until_ns: int | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[StreamFacts]:
        """Publications that began in [since_ns, until_ns). Raises `CursorError`."""
        c = streams.c
        statement = _between(select(streams), c.published_ns, since_ns, until_ns)
        if stream_name is not None:
            statement = statement.where(c.name == stream_name)
        if is_live is not None:
            statement = statement.where(c.ended_ns.is_(None) == is_live)
        found = await self._all(StreamFacts, _STREAMS.select(statement, cursor, limit))
        return _STREAMS.page(found, limit)

    async def recordings(
        self,
        *,
        stream_name: str | None = None,
        app: str | None = None,
        state: RecordingState | None = None,
        media_session_id: str | None = None,
        since_ns: int | None = None,
        until_ns: int | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[RecordingFacts]:
        """Recordings that began in [since_ns, until_ns). Raises `CursorError`."""
        c = recordings.c
        statement = _between(select(recordings), c.start_ns, since_ns, until_ns)
        if stream_name is not None:
            statement = statement.where(c.stream_name == stream_name)
        if app is not None:
            statement = statement.where(c.app == app)
        if state is not None:
            statement = statement.where(c.state == state.value)
        if media_session_id is not None:
            statement = statement.where(c.media_session_id == media_session_id)
        found = await self._all(RecordingFacts, _RECORDINGS.select(statement, cursor, limit))
        return _RECORDINGS.page(found, limit)

    async def latest_events(
        self, *, kinds: Sequence[EventKind] = (), limit: int = 50, cursor: str | None = None
    ) -> Page[Event]:
        """Events, the newest first; of all kinds, unless some are named. Raises `CursorError`."""
        statement = select(events).order_by(events.c.id.desc()).limit(clamp_limit(limit) + 1)
        if kinds:
            statement = statement.where(events.c.kind.in_([kind.value for kind in kinds]))
        if cursor is not None:
            statement = statement.where(events.c.id < parse_cursor(cursor)[0])
        found = await self._all(Event, statement)
        items = found[: clamp_limit(limit)]
        return Page(items, serialize_cursor(items[-1].id) if len(found) > len(items) else None)

    async def events(
        self,
        *,
        after_id: int = 0,
        recording_id: str | None = None,
        kind: EventKind | None = None,
        limit: int = 100,
    ) -> tuple[Event, ...]:
        """Events in the order of their ids. To read on, pass the last id; nothing is skipped by that."""
        statement = select(events).where(events.c.id > after_id)
        if recording_id is not None:
            statement = statement.where(events.c.recording_id == recording_id)
        if kind is not None:
            statement = statement.where(events.c.kind == kind.value)
        return await self._all(Event, statement.order_by(events.c.id).limit(clamp_limit(limit)))

    # Reading the files of recordings.

    async def segments(self, recording_id: str) -> tuple[SegmentFacts, ...]:
        """In their order."""
        return (await self.segments_of([recording_id]))[recording_id]

    async def segments_of(self, recording_ids: Iterable[str]) -> dict[str, tuple[SegmentFacts, ...]]:
        """The segments of each recording asked for, in their order; () for one that has none."""
        wanted = list(dict.fromkeys(recording_ids))
        found: dict[str, list[SegmentFacts]] = defaultdict(list)
        order = select(segments).order_by(segments.c.recording_id, segments.c.index, segments.c.id)
        for segment in await self._all_in(SegmentFacts, order, segments.c.recording_id, wanted):
            found[segment.recording_id].append(segment)
        return {recording_id: tuple(found[recording_id]) for recording_id in wanted}

    async def segments_in_state(self, *states: SegmentState) -> tuple[SegmentFacts, ...]:
        """For recovery at start: oldest first."""
        order = select(segments).order_by(segments.c.start_ns, segments.c.id)
        return await self._all_in(SegmentFacts, order, segments.c.state, states)

    async def recordings_in_state(self, *states: RecordingState) -> tuple[RecordingFacts, ...]:
        """For recovery at start: oldest first."""
        order = select(recordings).order_by(recordings.c.start_ns, recordings.c.id)
        return await self._all_in(RecordingFacts, order, recordings.c.state, states)

    async def segments_after(self, segment_id: str = "", limit: int = 500) -> tuple[SegmentFacts, ...]:
        """All segments by id, to walk through them: pass the last id until nothing comes."""
        statement = select(segments).where(segments.c.id > segment_id)
        return await self._all(SegmentFacts, statement.order_by(segments.c.id).limit(clamp_limit(limit)))

    async def segments_at(self, paths: Sequence[str]) -> dict[str, SegmentFacts]:
        """The segments whose rows name these paths."""
        found = await self._all_in(SegmentFacts, select(segments), segments.c.path, paths)
        return {segment.path: segment for segment in found}

    async def totals(self) -> Totals:
        size_bytes = func.coalesce(func.sum(segments.c.size_bytes), 0)
        duration_ms = func.coalesce(func.sum(segments.c.duration_ms), 0)
        async with self._database.reading() as connection:
            publications = await connection.execute(
                select(func.count(), func.count() - func.count(streams.c.ended_ns)).select_from(streams)
            )
            by_recording = await connection.execute(
                select(recordings.c.state, func.count()).group_by(recordings.c.state)
            )
            by_segment = await connection.execute(
                select(segments.c.state, func.count(), size_bytes, duration_ms).group_by(segments.c.state)
            )
            last_event_id = await connection.scalar(select(func.coalesce(func.max(events.c.id), 0)))
            stream_count, live_count = publications.one()
            rows = by_segment.all()
            return Totals(
                streams=stream_count,
                live_streams=live_count,
                recordings={RecordingState(state): count for state, count in by_recording},
                segments={SegmentState(state): count for state, count, _, _ in rows},
                size_bytes=sum(int(size) for _, _, size, _ in rows),
                duration_ms=sum(int(duration) for _, _, _, duration in rows),
                last_event_id=last_event_id or 0,
            )

    async def _one(self, kind: type[KeptT], statement: Select[Any]) -> KeptT | None:
        found = await self._all(kind, statement)
        return found[0] if found else None

    async def _all(self, kind: type[KeptT], statement: Select[Any]) -> tuple[KeptT, ...]:
        async with self._database.reading() as connection:
            rows = (await connection.execute(statement)).mappings().all()
        return tuple(from_row(kind, row) for row in rows)

    async def _all_in(
        self, kind: type[KeptT], statement: Select[Any], column: Column[Any], values: Sequence[str]
    ) -> tuple[KeptT, ...]:
        """Those whose column has one of the values; ordered within each `_MAX_VALUES` of these."""
        found: list[KeptT] = []
        for start in range(0, len(values), _MAX_VALUES):
            some = column.in_([str(value) for value in values[start : start + _MAX_VALUES]])
            found.extend(await self._all(kind, statement.where(some)))
        return tuple(found)


def _between(
    statement: Select[Any], time: Column[Any], since_ns: int | None, until_ns: int | None
) -> Select[Any]:
    if since_ns is not None:
        statement = statement.where(time >= since_ns)
    if until_ns is not None:
        statement = statement.where(time < until_ns)
    return statement
