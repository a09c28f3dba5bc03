"""The JSON of the API: facts translated into fields for people and programs.

Times are RFC 3339 in UTC with milliseconds; durations are in milliseconds, sizes in bytes, and the names say
so.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, Field

from aircheck.catalog import Page
from aircheck.facts import (
    EndReason,
    EventKind,
    GapFacts,
    GapReason,
    RecordingFacts,
    RecordingState,
    SegmentFacts,
    SegmentState,
    TrackFacts,
)
from aircheck.facts import Event as EventFacts
from aircheck.service.downloads import stable_name
from aircheck.service.recordings import RecordingDetail
from aircheck.service.streams import StreamStatus

RECORDS_PATH = "/client/records"


def rfc3339(ns: int) -> str:
    """Nanoseconds since the epoch as `2026-11-21T05:40:00.123Z`."""
    seconds, rest_ns = divmod(ns, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest_ns // 1_000_000:03d}Z"


_INT64_MAX = 2**63 - 1


def nanoseconds(moment: datetime) -> int:
    """A time with its offset as nanoseconds since the epoch, to the microsecond.

    Those before 1677 and after 2262 are as early or as late as 64 bits can say, which the catalogue keeps.
    """
    since_epoch = moment - datetime(1970, 1, 1, tzinfo=UTC)
    time_ns = (since_epoch.days * 86_400 + since_epoch.seconds) * 1_000_000_000
    return min(max(time_ns + since_epoch.microseconds * 1000, -_INT64_MAX), _INT64_MAX)


def _optional_time(ns: int | None) -> str | None:
    return None if ns is None else rfc3339(ns)


_COUNTED = "Of a live stream: by its oldest running recording; null while none has written any."
_NOTICES = (
    "What was odd in the publisher's media, by kind, such as `timestamp_jumps` (backward; the timeline goes"
    " on), `timestamp_gaps` (forward; kept), `malformed_tags` or `unsupported_frames`."
)


class Track(BaseModel):
    id: int
    kind: str = Field(examples=["video"])
    codec: str = Field(examples=["h264"])
    timescale: int = Field(description="Ticks per second of the track's clock.")
    width: int | None = None
    height: int | None = None
    sample_rate_hz: int | None = None
    channels: int | None = None
    packets: int | None = Field(description=_COUNTED)
    size_bytes: int | None
    duration_ms: int | None

    @classmethod
    def of_live(cls, track: TrackFacts) -> Track:
        """A track of a stream, where nothing counted is not zero but unknown."""
        described = cls.of(track)
        if not track.packets:
            described.packets = described.size_bytes = described.duration_ms = None
        return described

    @classmethod
    def of(cls, track: TrackFacts) -> Track:
        return cls(
            id=track.id,
            kind=track.kind,
            codec=track.codec,
            timescale=track.timescale,
            width=track.width or None,
            height=track.height or None,
            sample_rate_hz=track.sample_rate or None,
            channels=track.channels or None,
            packets=track.packets,
            size_bytes=track.size_bytes,
            duration_ms=track.duration_ms,
        )


class Stream(BaseModel):
    """A live stream: one publication of a name."""

    id: str = Field(description="The media session: a new one with each publication.")
    name: str
    app: str = Field(description="The application that the publisher named; empty if its protocol has none.")
    session_id: str = Field(description="The publisher's connection; on every line of the log about it.")
    protocol: str = Field(examples=["rtmp"])
    remote_address: str
    login: str
    client: str = Field(description="What the publisher says it is.")
    published_time_utc: str
    uptime_ms: int
    tracks: list[Track]
    packets: int
    size_bytes: int
    bitrate_bps: int
    gap_count: int
    gap_reasons: dict[str, int] = Field(description="The gaps of its running recordings, by reason.")
    dropped_packets: int
    notices: dict[str, int] = Field(description=_NOTICES)
    subscribers: int = Field(description="Recordings and viewers that take this stream.")

    @classmethod
    def of(cls, stream: StreamStatus, uptime_ms: int) -> Stream:
        publication = stream.facts
        return cls(
            id=publication.id,
            name=publication.name,
            app=publication.app,
            session_id=publication.session_id,
            protocol=publication.protocol,
            remote_address=publication.remote_address,
            login=publication.login,
            client=publication.client,
            published_time_utc=rfc3339(publication.published_ns),
            uptime_ms=uptime_ms,
            tracks=[Track.of_live(track) for track in publication.tracks],
            packets=stream.packets,
            size_bytes=stream.size_bytes,
            bitrate_bps=stream.bitrate_bps,
            gap_count=stream.gaps,
            gap_reasons=dict(stream.gap_reasons),
            dropped_packets=stream.dropped_packets,
            notices=dict(stream.notices),
            subscribers=stream.subscribers,
        )


class StreamList(BaseModel):
    items: list[Stream]


class Gap(BaseModel):
    """Media that is missing, and why."""

    start_ms: int = Field(description="On the stream's own timeline.")
    duration_ms: int
    reason: GapReason
    dropped_packets: int
    dropped_bytes: int
    time_utc: str | None = None

    @classmethod
    def of(cls, gap: GapFacts) -> Gap:
        return cls(
            start_ms=gap.start_ms,
            duration_ms=gap.duration_ms,
            reason=gap.reason,
            dropped_packets=gap.dropped_packets,
            dropped_bytes=gap.dropped_bytes,
            time_utc=_optional_time(gap.at_ns or None),
        )


class Segment(BaseModel):
    """One file of a recording. Its links work from the first second on, while the file still grows."""

    id: str
    index: int
    state: SegmentState
    container: str
    file_name: str
    play_url: str
    download_url: str
    start_time_utc: str
    end_time_utc: str | None
    start_media_time_ms: int = Field(description="The stream's media time at the first packet.")
    duration_ms: int
    size_bytes: int
    is_recovered: bool = Field(description="Made whole after a crash.")
    error: str
    moved_percent: int | None = Field(
        description="How much of a finished file has been moved to its folder from a `tmp_dir` on another "
        "file system; null when there is nothing to move. Sizes count the file once meanwhile."
    )
    tracks: list[Track]
    gaps: list[Gap]

    @classmethod
    def of(cls, segment: SegmentFacts, moved_percent: int | None = None) -> Segment:
        url = segment_url(segment)
        return cls(
            id=segment.id,
            index=segment.index,
            state=segment.state,
            container=segment.container,
            file_name=segment.file_name,
            play_url=url,
            download_url=f"{url}?download=1",
            start_time_utc=rfc3339(segment.start_ns),
            end_time_utc=_optional_time(segment.end_ns),
            start_media_time_ms=segment.start_pts_ms,
            duration_ms=segment.duration_ms,
            size_bytes=segment.size_bytes,
            is_recovered=segment.is_recovered,
            error=segment.error,
            moved_percent=moved_percent,
            tracks=[Track.of(track) for track in segment.tracks],
            gaps=[Gap.of(gap) for gap in segment.gaps],
        )


class Recording(BaseModel):
    """A recording from start to stop. Its files are in `GET /api/v1/recordings/{id}`."""

    id: str
    stream_name: str
    app: str
    media_session_id: str
    session_id: str
    login: str
    requested_by: str = Field(description="Who asked for it: settings, publisher, a call of an API …")
    container: str
    state: RecordingState
    start_time_utc: str
    end_time_utc: str | None
    end_reason: EndReason | None
    error: str
    segment_count: int
    size_bytes: int
    duration_ms: int
    gap_count: int
    dropped_packets: int

    @classmethod
    def of(cls, recording: RecordingFacts) -> Recording:
        return cls(**_recording_fields(recording))


class RecordingWithFiles(Recording):
    """A recording with its files in order."""

    segments: list[Segment]

    @classmethod
    def of_detail(cls, detail: RecordingDetail) -> RecordingWithFiles:
        segments = [Segment.of(segment, detail.moved_percent.get(segment.id)) for segment in detail.segments]
        return cls(**_recording_fields(detail.facts), segments=segments)


def _recording_fields(recording: RecordingFacts) -> dict[str, Any]:
    return {
        "id": recording.id,
        "stream_name": recording.stream_name,
        "app": recording.app,
        "media_session_id": recording.media_session_id,
        "session_id": recording.session_id,
        "login": recording.login,
        "requested_by": recording.requested_by,
        "container": recording.container,
        "state": recording.state,
        "start_time_utc": rfc3339(recording.start_ns),
        "end_time_utc": _optional_time(recording.end_ns),
        "end_reason": recording.end_reason,
        "error": recording.error,
        "segment_count": recording.segment_count,
        "size_bytes": recording.size_bytes,
        "duration_ms": recording.duration_ms,
        "gap_count": recording.gaps,
        "dropped_packets": recording.dropped_packets,
    }


class Event(BaseModel):
    id: int
    kind: EventKind
    time_utc: str
    stream_name: str
    media_session_id: str
    recording_id: str
    segment_id: str
    facts: Mapping[str, Any]

    @classmethod
    def of(cls, event: EventFacts) -> Event:
        return cls(
            id=event.id,
            kind=event.kind,
            time_utc=rfc3339(event.at_ns),
            stream_name=event.stream_name,
            media_session_id=event.media_session_id,
            recording_id=event.recording_id,
            segment_id=event.segment_id,
            facts=event.facts,
        )


class RecordingPage(BaseModel):
    """A part of the list. Ask again with `cursor=next_cursor` for what follows; null at the end."""

    items: list[Recording]
    next_cursor: str | None

    @classmethod
    def of(cls, page: Page[RecordingFacts]) -> RecordingPage:
        return cls(items=[Recording.of(row) for row in page.items], next_cursor=page.next_cursor)


class EventPage(BaseModel):
    """A part of the list. Ask again with `cursor=next_cursor` for what follows; null at the end."""

    items: list[Event]
    next_cursor: str | None

    @classmethod
    def of(cls, page: Page[EventFacts]) -> EventPage:
        return cls(items=[Event.of(row) for row in page.items], next_cursor=page.next_cursor)


class Volume(BaseModel):
    """A disk that recordings go to."""

    path: str
    size_bytes: int
    free_bytes: int
    is_failing: bool
    last_error: str


class Health(BaseModel):
    status: str = Field(description="`ok`, or `failing` when a volume is.", examples=["ok"])
    version: str
    uptime_ms: int
    streams: int
    active_recordings: int
    volumes: list[Volume]


def segment_url(segment: SegmentFacts) -> str:
    """Where a segment's file is found: by its name once that is settled, until then by its id."""
    is_final = segment.state is SegmentState.COMPLETE
    return record_url(segment.file_name if is_final else stable_name(segment))


def record_url(file_name: str) -> str:
    """The path of a recorded file on this server."""
    return f"{RECORDS_PATH}/{quote(file_name)}"
