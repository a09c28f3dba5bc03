"""The catalogue as the recorder's journal: facts in, trouble counted and logged, never raised."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from aircheck.catalog import Catalog
from aircheck.errors import CatalogError
from aircheck.facts import Event, RecordingFacts, RecordingState, SegmentFacts, SegmentState, StreamFacts
from aircheck.service.health import CatalogStatus
from aircheck.service.late_rows import Kept, LateRows

_log = logging.getLogger(__name__)

_PAGE = 500

_UNFINISHED = (
    RecordingState.ARMED,
    RecordingState.RECORDING,
    RecordingState.PAUSED,
    RecordingState.FINALIZING,
)


class CatalogJournal:
    """Implements `aircheck.recording.journal.Journal`.

    A row that cannot be written costs nobody a recording: it is written late, and should the server end
    before that, files carry their own facts, from which `aircheck check` puts the rows right. `listeners`
    get every event, after it is kept or found late.
    """

    def __init__(self, catalog: Catalog) -> None:
        self.errors = 0
        self.last_error = ""
        self.listeners: list[Callable[[Event], None]] = []
        self._catalog = catalog
        self._late = LateRows(catalog)

    async def close(self) -> None:
        """Write what is late, if the catalogue lets us."""
        await self._late.close()

    @property
    def forgotten_rows(self) -> int:
        """Rows that came while too many were late already; `aircheck check --repair` makes them again."""
        return self._late.forgotten

    def status(self) -> CatalogStatus:
        counters = self._catalog.counters
        return CatalogStatus(
            late_rows=len(self._late),
            write_errors={trouble.value: times for trouble, times in counters.errors.items()},
            last_commit_s=counters.last_commit_s,
            max_commit_s=counters.max_commit_s,
        )

    async def put_stream(self, facts: StreamFacts) -> None:
        await self._put(facts)

    async def put_recording(self, facts: RecordingFacts) -> None:
        await self._put(facts)

    async def put_segment(self, facts: SegmentFacts) -> None:
        await self._put(facts)

    async def file_replaced(self, path: Path) -> None:
        for facts in await self._rows_of(path):
            gone = replace(facts, state=SegmentState.FAILED, path="", error="replaced by a newer recording")
            await self.put_segment(gone)

    async def file_renamed(self, path: Path, new_path: Path, file_name: str) -> None:
        for facts in await self._rows_of(path):
            await self.put_segment(replace(facts, path=str(new_path), file_name=file_name))

    async def _rows_of(self, path: Path) -> tuple[SegmentFacts, ...]:
        try:
            found = await self._catalog.segments_at([str(path)])
        except CatalogError as error:
            self._count(error)
            _log.error("row not read path=%s error=%s", path, error)
            return ()
        return tuple(found.values())

    async def add_event(self, event: Event) -> None:
        kept = replace(event, id=0)
        if len(self._late):
            self._late.keep(kept)
        else:
            try:
                kept = await self._catalog.add_event(event)
            except CatalogError as error:
                self._is_late(kept, error)
        for listener in self.listeners:
            listener(kept)

    async def segments_in_state(self, *states: SegmentState) -> tuple[SegmentFacts, ...]:
        return await self._catalog.segments_in_state(*states)

    async def unfinished_recordings(self) -> tuple[RecordingFacts, ...]:
        return await self._catalog.recordings_in_state(*_UNFINISHED)

    async def recording(self, recording_id: str) -> RecordingFacts | None:
        return await self._catalog.recording(recording_id)

    async def segment(self, segment_id: str) -> SegmentFacts | None:
        return await self._catalog.segment(segment_id)

    async def segments(self, recording_id: str) -> tuple[SegmentFacts, ...]:
        return await self._catalog.segments(recording_id)

    async def live_streams(self) -> tuple[StreamFacts, ...]:
        """Publications whose rows have no end. Raises CatalogError."""
        page = await self._catalog.streams(is_live=True, limit=_PAGE)
        found = page.items
        while page.next_cursor is not None:
            page = await self._catalog.streams(is_live=True, limit=_PAGE, cursor=page.next_cursor)
            found += page.items
        return found

    async def recordings_of(self, media_session_id: str) -> tuple[RecordingFacts, ...]:
        """The recordings of a publication, the newest `_PAGE` of them. Raises CatalogError."""
        page = await self._catalog.recordings(media_session_id=media_session_id, limit=_PAGE)
        return page.items

    async def _put(self, facts: StreamFacts | RecordingFacts | SegmentFacts) -> None:
        if len(self._late):
            self._late.keep(facts)
            return
        try:
            await self._catalog.put_many(facts)
        except CatalogError as error:
            self._is_late(facts, error)

    def _is_late(self, row: Kept, error: CatalogError) -> None:
        self._count(error)
        if not len(self._late):
            _log.error("catalogue in trouble, its rows are written later error=%s", error)
        self._late.keep(row)

    def _count(self, error: CatalogError) -> None:
        self.errors += 1
        self.last_error = str(error)
