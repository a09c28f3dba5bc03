"""What the events of recordings and their files say beside whose they are; JSON values."""

from __future__ import annotations

from aircheck.facts import RecordingFacts, SegmentFacts, SegmentState


def of_recording(recording: RecordingFacts) -> dict[str, object]:
    """As it begins, and how it went once it has ended."""
    facts: dict[str, object] = {
        "requested_by": recording.requested_by,
        "app": recording.app,
        "login": recording.login,
        "container": recording.container,
    }
    if recording.end_reason is None:
        return facts
    facts |= {
        "end_reason": recording.end_reason.value,
        "start_ns": recording.start_ns,
        "end_ns": recording.end_ns,
        "segments": recording.segment_count,
        "size_bytes": recording.size_bytes,
        "duration_ms": recording.duration_ms,
        "gaps": recording.gaps,
        "dropped_packets": recording.dropped_packets,
    }
    return facts | ({"error": recording.error} if recording.error else {})


def of_segment(segment: SegmentFacts) -> dict[str, object]:
    """As its file begins, and what is in it once it is complete."""
    facts: dict[str, object] = {
        "index": segment.index,
        "file_name": segment.file_name,
        "path": segment.path,
        "container": segment.container,
        "codecs": [track.codec for track in segment.tracks],
        "start_ns": segment.start_ns,
    }
    if segment.state is not SegmentState.COMPLETE:
        return facts
    return facts | {
        "end_ns": segment.end_ns,
        "size_bytes": segment.size_bytes,
        "duration_ms": segment.duration_ms,
        "gaps": sum(not gap.is_seam for gap in segment.gaps),
        "is_recovered": segment.is_recovered,
    }
