"""Recordings, live and past, as the faces see them.

The catalogue knows all of them, the recorder knows the running ones better: what is still being recorded is
overlaid with the recorder's own facts, so that sizes and durations are those of this moment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from aircheck.catalog import Catalog, CursorError, Page
from aircheck.facts import RecordingFacts, RecordingState, SegmentFacts
from aircheck.service.errors import InvalidRequest, NotFound

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
    moved_bytes: int = 0
    """Of finished files that are being moved to another file system."""
    unmoved_bytes: int = 0


class LiveRecordings(Protocol):
    """What the recordings service asks of the recorder. Called on the loop; must not block."""

    def recordings(self) -> Sequence[RecordingFacts]: ...

    def segments(self, recording_id: str) -> Sequence[SegmentFacts]: ...

    def current_file_name(self, recording_id: str) -> str | None: ...

    def health(self, recording_id: str) -> RecordingHealth | None: ...

    def moved_percent(self, recording_id: str) -> Mapping[str, int]: ...


@dataclass(frozen=True, slots=True)
class RecordingFilter:
    """Which recordings: all conditions that are given must hold. Times are of the start: [since, until)."""

    stream_name: str | None = None
    app: str | None = None
    state: RecordingState | None = None
    since_ns: int | None = None
    until_ns: int | None = None


@dataclass(frozen=True, slots=True)
class RecordingDetail:
    """A recording with its files in order."""

    facts: RecordingFacts
    segments: tuple[SegmentFacts, ...]
    moved_percent: Mapping[str, int] = field(default_factory=dict)
    """Of files that are being moved to another file system, by the id of the segment."""
    is_running: bool = False
    """Whether the recorder has it. An unfinished one that it has not is what a crash has left."""


class RecordingService:
    def __init__(self, catalog: Catalog, live: LiveRecordings) -> None:
        self._catalog = catalog
        self._live = live

    async def page(
        self, wanted: RecordingFilter | None = None, *, limit: int = 50, cursor: str | None = None
    ) -> Page[RecordingFacts]:
        """Recordings, the newest first. Raises `InvalidRequest` for a cursor that no page gave."""
        wanted = wanted or RecordingFilter()
        try:
            page = await self._catalog.recordings(
                stream_name=wanted.stream_name,
                app=wanted.app,
                state=wanted.state,
                since_ns=wanted.since_ns,
                until_ns=wanted.until_ns,
                limit=limit,
                cursor=cursor,
            )
        except CursorError as error:
            raise InvalidRequest(error.message, remedy=error.remedy) from error
        running = self._running()
        return Page(tuple(running.get(row.id, row) for row in page.items), page.next_cursor)

    async def get(self, recording_id: str) -> RecordingDetail:
        """A recording with its segments. Raises `NotFound`."""
        facts = self._running().get(recording_id) or await self._catalog.recording(recording_id)
        if facts is None:
            raise NotFound(
                f"there is no recording with the id {recording_id!r}",
                remedy="GET /api/v1/recordings lists the recordings",
            )
        (detail,) = await self.details([facts])
        return detail

    async def details(self, recordings: Sequence[RecordingFacts]) -> list[RecordingDetail]:
        """The same recordings with their segments, by index."""
        kept = await self._catalog.segments_of(recording.id for recording in recordings)
        running = self._running()
        return [
            RecordingDetail(
                recording,
                self._overlaid(recording.id, kept[recording.id]),
                self._live.moved_percent(recording.id),
                is_running=recording.id in running,
            )
            for recording in recordings
        ]

    def active(self) -> Sequence[RecordingFacts]:
        """The recordings that are running or being made final, as they stand now."""
        return [recording for recording in self._live.recordings() if recording.state in UNFINISHED]

    def current_file_name(self, recording_id: str) -> str | None:
        """The file that a running recording writes or is about to, relative to the record folder.

        Elements of the name that are not known yet stand in it as in the template. None when it runs no more.
        """
        return self._live.current_file_name(recording_id)

    def health(self, recording_id: str) -> RecordingHealth | None:
        return self._live.health(recording_id)

    def _running(self) -> dict[str, RecordingFacts]:
        return {recording.id: recording for recording in self._live.recordings()}

    def _overlaid(self, recording_id: str, kept: Sequence[SegmentFacts]) -> tuple[SegmentFacts, ...]:
        segments = {segment.id: segment for segment in kept}
        segments |= {segment.id: segment for segment in self._live.segments(recording_id)}
        return tuple(sorted(segments.values(), key=lambda segment: segment.index))
