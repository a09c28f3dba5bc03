"""Recordings, live and past, as the faces see them.

The catalogue knows all of them, the recorder knows the running ones better: what is still being recorded is
overlaid with the recorder's own facts, so that sizes and durations are those of this moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from aircheck.facts import RecordingFacts, RecordingState, SegmentFacts
from aircheck.service.errors import NotFound
from aircheck.service.pages import Page, RecordingFilter

UNFINISHED = frozenset(
    (RecordingState.ARMED, RecordingState.RECORDING, RecordingState.PAUSED, RecordingState.FINALIZING)
)


@dataclass(frozen=True, slots=True)
class RecordingHealth:
    """How a running recording gets on with its disk."""

    write_latency_s: float = 0.0
    max_write_latency_s: float = 0.0
    since_sync_s: float = 0.0
    queued_bytes: int = 0


class LiveRecordings(Protocol):
    """What the recordings service asks of the recorder. Called on the loop; must not block."""

    def recordings(self) -> Sequence[RecordingFacts]: ...

    def segments(self, recording_id: str) -> Sequence[SegmentFacts]: ...

    def health(self, recording_id: str) -> RecordingHealth | None: ...


class RecordingIndex(Protocol):
    """What the recordings service asks of the catalogue."""

    async def recordings(
        self, wanted: RecordingFilter, limit: int, cursor: str | None
    ) -> Page[RecordingFacts]: ...

    async def recording(self, recording_id: str) -> RecordingFacts | None: ...

    async def segments(self, recording_id: str) -> Sequence[SegmentFacts]: ...


@dataclass(frozen=True, slots=True)
class RecordingDetail:
    """A recording with its files in order."""

    facts: RecordingFacts
    segments: tuple[SegmentFacts, ...]


class RecordingService:
    def __init__(self, index: RecordingIndex, live: LiveRecordings) -> None:
        self._index = index
        self._live = live

    async def page(
        self, wanted: RecordingFilter | None = None, *, limit: int = 50, cursor: str | None = None
    ) -> Page[RecordingFacts]:
        """Recordings, the newest first. Raises `InvalidRequest` for a cursor that no page gave."""
        page = await self._index.recordings(wanted or RecordingFilter(), limit, cursor)
        live = {recording.id: recording for recording in self._live.recordings()}
        return Page(tuple(live.get(row.id, row) for row in page.items), page.next_cursor)

    async def get(self, recording_id: str) -> RecordingDetail:
        """A recording with its segments, by index. Raises `NotFound`."""
        running = {recording.id: recording for recording in self._live.recordings()}
        facts = running.get(recording_id) or await self._index.recording(recording_id)
        if facts is None:
            raise NotFound(
                f"there is no recording with the id {recording_id!r}",
                remedy="GET /api/v1/recordings lists the recordings",
            )
        segments = {segment.id: segment for segment in await self._index.segments(recording_id)}
        segments |= {segment.id: segment for segment in self._live.segments(recording_id)}
        return RecordingDetail(facts, tuple(sorted(segments.values(), key=lambda segment: segment.index)))

    def active(self) -> Sequence[RecordingFacts]:
        """The recordings that are running or being made final, as they stand now."""
        return [recording for recording in self._live.recordings() if recording.state in UNFINISHED]

    def health(self, recording_id: str) -> RecordingHealth | None:
        return self._live.health(recording_id)
