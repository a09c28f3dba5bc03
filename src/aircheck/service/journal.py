"""The catalogue as the recorder's journal: facts in, trouble counted and logged, never raised."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from aircheck.catalog import Catalog
from aircheck.errors import CatalogError
from aircheck.facts import Event, RecordingFacts, RecordingState, SegmentFacts, SegmentState, StreamFacts

_log = logging.getLogger(__name__)
_Row = TypeVar("_Row")

_PAGE = 500

_UNFINISHED = (
    RecordingState.ARMED,
    RecordingState.RECORDING,
    RecordingState.PAUSED,
    RecordingState.FINALIZING,
)


class CatalogJournal:
    """Implements `aircheck.recording.journal.Journal`.

    A row that cannot be written costs nobody a recording: files carry their own facts, and `aircheck
    check` puts the rows right. `listeners` get every event after it is kept.
    """

    def __init__(self, catalog: Catalog) -> None:
        self.errors = 0
        self.last_error = ""
        self.listeners: list[Callable[[Event], None]] = []
        self._catalog = catalog

    async def put_stream(self, facts: StreamFacts) -> None:
        await self._try(self._catalog.put_stream(facts), "stream", facts.id)

    async def put_recording(self, facts: RecordingFacts) -> None:
        await self._try(self._catalog.put_recording(facts), "recording", facts.id)

    async def put_segment(self, facts: SegmentFacts) -> None:
        await self._try(self._catalog.put_segment(facts), "segment", facts.id)

    async def file_replaced(self, path: Path) -> None:
        for facts in await self._rows_of(path):
            gone = replace(facts, state=SegmentState.FAILED, path="", error="replaced by a newer recording")
            await self.put_segment(gone)

    async def file_renamed(self, path: Path, new_path: Path, file_name: str) -> None:
        for facts in await self._rows_of(path):
            await self.put_segment(replace(facts, path=str(new_path), file_name=file_name))

    async def _rows_of(self, path: Path) -> tuple[SegmentFacts, ...]:
        found = await self._try(self._catalog.segments_at([str(path)]), "segment", str(path))
        return tuple((found or {}).values())

    async def add_event(self, event: Event) -> None:
        kept = await self._try(self._catalog.add_event(event), "event", event.kind)
        for listener in self.listeners:
            listener(kept if kept is not None else replace(event, id=0))

    async def segments_in_state(self, *states: SegmentState) -> tuple[SegmentFacts, ...]:
        return await self._catalog.segments_in_state(*states)

    async def unfinished_recordings(self) -> tuple[RecordingFacts, ...]:
        return await self._catalog.recordings_in_state(*_UNFINISHED)

    async def recording(self, recording_id: str) -> RecordingFacts | None:
        return await self._catalog.recording(recording_id)

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

    async def _try(self, work: Awaitable[_Row], what: str, row_id: str) -> _Row | None:
        try:
            return await work
        except CatalogError as error:
            self.errors += 1
            self.last_error = str(error)
            _log.error("row not written kind=%s id=%s error=%s", what, row_id, error)
            return None
