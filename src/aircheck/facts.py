"""Facts: what is known of streams, recordings and segments.

The recorder makes them, the catalogue keeps them, the services hand them out and the faces translate them.
They are values: to change one, make a new one with `dataclasses.replace`. Times named `_ns` are wall clock,
nanoseconds since the epoch, UTC; durations are milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class RecordingState(StrEnum):
    ARMED = "armed"
    RECORDING = "recording"
    PAUSED = "paused"
    FINALIZING = "finalizing"
    COMPLETE = "complete"
    FAILED = "failed"


class SegmentState(StrEnum):
    GROWING = "growing"
    FINALIZING = "finalizing"
    COMPLETE = "complete"
    FAILED = "failed"


class EndReason(StrEnum):
    """Why a recording (or a publication) ended."""

    UNPUBLISHED = "unpublished"
    DISCONNECTED = "disconnected"
    TIMED_OUT = "timed_out"
    PROTOCOL_ERROR = "protocol_error"
    STOPPED = "stopped"
    SHUTDOWN = "shutdown"
    MAX_DURATION = "max_duration"
    DISK_FULL = "disk_full"
    DISK_ERROR = "disk_error"
    CRASHED = "crashed"
    NO_MEDIA = "no_media"
    INTERNAL_ERROR = "internal_error"


class GapReason(StrEnum):
    """Why media is missing between two packets of a recording."""

    SLOW_DISK = "slow_disk"
    DISK_FULL = "disk_full"
    DISK_ERROR = "disk_error"
    TIMESTAMP_JUMP = "timestamp_jump"
    RECONNECT = "reconnect"
    SLOW_TRANSCODE = "slow_transcode"
    """Sound alone; there is silence instead."""
    APPEND = "append"
    """The file was continued here by a later recording. `duration_ms` is what its time leaves open, 0 unless
    that was asked for; `at_ns` is when the later part began."""


@dataclass(frozen=True, slots=True)
class TrackFacts:
    id: int
    codec: str
    kind: str
    timescale: int
    width: int = 0
    height: int = 0
    sample_rate: int = 0
    channels: int = 0
    packets: int = 0
    size_bytes: int = 0
    duration_ms: int = 0


@dataclass(frozen=True, slots=True)
class GapFacts:
    """Media that is missing, with its place on the stream's timeline and the reason."""

    start_ms: int
    duration_ms: int
    reason: GapReason
    dropped_packets: int = 0
    dropped_bytes: int = 0
    at_ns: int = 0

    @property
    def is_seam(self) -> bool:
        """Whether a file was continued here without a hole: nothing is missing."""
        return self.reason is GapReason.APPEND and not self.duration_ms


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """One publication of a named stream. `id` is the media session (WCS `mediaSessionId`)."""

    id: str
    name: str
    app: str
    session_id: str
    protocol: str
    remote_address: str
    login: str = ""
    client: str = ""
    published_ns: int = 0
    ended_ns: int | None = None
    end_reason: EndReason | None = None
    tracks: tuple[TrackFacts, ...] = ()


MULTI_RECORDER = "multi-recorder://"
"""How the media session of a mix begins, which is not a publication but has this URI."""


@dataclass(frozen=True, slots=True)
class RecordingFacts:
    """One recording from start to stop. Sums over its segments are kept beside it for listing."""

    id: str
    stream_name: str
    app: str
    media_session_id: str
    session_id: str
    login: str
    requested_by: str
    container: str
    name_template: str
    state: RecordingState
    start_ns: int
    end_ns: int | None = None
    end_reason: EndReason | None = None
    error: str = ""
    segment_count: int = 0
    size_bytes: int = 0
    duration_ms: int = 0
    gaps: int = 0
    dropped_packets: int = 0

    @property
    def is_of_several(self) -> bool:
        """Whether this is several streams in one file."""
        return self.media_session_id.startswith(MULTI_RECORDER)


@dataclass(frozen=True, slots=True)
class SegmentFacts:
    """One file of a recording. `path` is absolute: of the growing file until `complete`, then of the
    final one.

    `start_pts_ms` is the stream's media time at the segment's first packet, `start_ns`/`end_ns` the wall
    clock of its first and last packet. `file_name` is the name for people and downloads, relative to the
    record folder.
    """

    id: str
    recording_id: str
    index: int
    state: SegmentState
    container: str
    path: str
    file_name: str
    start_ns: int
    start_pts_ms: int = 0
    end_ns: int | None = None
    duration_ms: int = 0
    size_bytes: int = 0
    is_recovered: bool = False
    error: str = ""
    tracks: tuple[TrackFacts, ...] = ()
    gaps: tuple[GapFacts, ...] = ()

    @property
    def is_continued(self) -> bool:
        """Whether the file was continued by a later recording: then it has its name and keeps it."""
        return any(gap.reason is GapReason.APPEND for gap in self.gaps)


class EventKind(StrEnum):
    STREAM_PUBLISHED = "stream.published"
    STREAM_UNPUBLISHED = "stream.unpublished"
    RECORDING_ARMED = "recording.armed"
    RECORDING_DISARMED = "recording.disarmed"
    RECORDING_STARTED = "recording.started"
    RECORDING_PAUSED = "recording.paused"
    RECORDING_RESUMED = "recording.resumed"
    SOURCE_ADDED = "recording.source_added"
    """A stream came into a recording of several; the event's media session is that stream's."""
    SOURCE_REMOVED = "recording.source_removed"
    RECORDING_COMPLETED = "recording.completed"
    RECORDING_FAILED = "recording.failed"
    RECORDING_RECOVERED = "recording.recovered"
    SEGMENT_CREATED = "segment.created"
    SEGMENT_COMPLETED = "segment.completed"
    CONTAINER_CHANGED = "recording.container_changed"
    """The files are of another kind than was wanted, for that cannot hold the pictures."""
    RECORDING_APPENDED = "recording.appended"
    """It goes on in the file of an earlier recording, which has it no longer."""
    RECORDING_NOT_APPENDED = "recording.not_appended"
    """It was to go on in a file that cannot take it, and has one of its own."""
    GAP = "recording.gap"
    HOOK_DONE = "hook.done"
    HOOK_FAILED = "hook.failed"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened; kept in the catalogue in the order of `id`, which it gives (0 before)."""

    kind: EventKind
    at_ns: int
    stream_name: str = ""
    media_session_id: str = ""
    recording_id: str = ""
    segment_id: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    id: int = 0
