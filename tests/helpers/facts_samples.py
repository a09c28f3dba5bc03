"""Plain facts for tests that are not about facts: give what matters, the rest is ordinary."""

from __future__ import annotations

from typing import Any

from aircheck.facts import RecordingFacts, RecordingState, SegmentFacts, SegmentState, StreamFacts, TrackFacts

START_NS = 1_763_700_000_000_000_000
SECOND_NS = 1_000_000_000

VIDEO = TrackFacts(id=1, codec="h264", kind="video", timescale=1000, width=1280, height=720, packets=300)
AUDIO = TrackFacts(id=2, codec="aac", kind="audio", timescale=48000, sample_rate=48000, channels=2)


def a_stream(stream_id: str = "m1", **changes: Any) -> StreamFacts:
    facts: dict[str, Any] = {
        "name": "gate",
        "app": "live",
        "session_id": "s1",
        "protocol": "rtmp",
        "remote_address": "192.0.2.7:50000",
        "published_ns": START_NS,
        "tracks": (VIDEO, AUDIO),
    }
    return StreamFacts(id=stream_id, **(facts | changes))


def a_recording(recording_id: str = "r1", **changes: Any) -> RecordingFacts:
    facts: dict[str, Any] = {
        "stream_name": "gate",
        "app": "live",
        "media_session_id": "m1",
        "session_id": "s1",
        "login": "ann",
        "requested_by": "settings",
        "container": "mp4",
        "name_template": "{streamName}-{startTime}",
        "state": RecordingState.RECORDING,
        "start_ns": START_NS,
    }
    return RecordingFacts(id=recording_id, **(facts | changes))


def a_segment(segment_id: str = "g1", recording_id: str = "r1", **changes: Any) -> SegmentFacts:
    facts: dict[str, Any] = {
        "index": 0,
        "state": SegmentState.GROWING,
        "container": "mp4",
        "path": f"/records/.growing/{segment_id}.mp4",
        "file_name": f"{segment_id}.mp4",
        "start_ns": START_NS,
        "tracks": (VIDEO, AUDIO),
    }
    return SegmentFacts(id=segment_id, recording_id=recording_id, **(facts | changes))
