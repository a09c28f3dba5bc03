"""What a hook is told: its arguments, and what it finds in its environment."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

from aircheck.facts import RecordingFacts, SegmentFacts
from aircheck.plain import plain_value

_Get = Callable[[RecordingFacts, SegmentFacts], object]

_VARIABLES: dict[str, _Get] = {
    "AIRCHECK_STREAM": lambda recording, _: recording.stream_name,
    "AIRCHECK_APP": lambda recording, _: recording.app,
    "AIRCHECK_LOGIN": lambda recording, _: recording.login,
    "AIRCHECK_MEDIA_SESSION_ID": lambda recording, _: recording.media_session_id,
    "AIRCHECK_SESSION_ID": lambda recording, _: recording.session_id,
    "AIRCHECK_RECORDING_ID": lambda recording, _: recording.id,
    "AIRCHECK_REQUESTED_BY": lambda recording, _: recording.requested_by,
    "AIRCHECK_END_REASON": lambda recording, _: recording.end_reason or "",
    "AIRCHECK_SEGMENT_ID": lambda _, segment: segment.id,
    "AIRCHECK_SEGMENT_INDEX": lambda _, segment: segment.index,
    "AIRCHECK_FILE": lambda _, segment: segment.path,
    "AIRCHECK_FILE_NAME": lambda _, segment: segment.file_name,
    "AIRCHECK_CONTAINER": lambda _, segment: segment.container,
    "AIRCHECK_START_TIME": lambda _, segment: _utc(segment.start_ns),
    "AIRCHECK_END_TIME": lambda _, segment: _utc(segment.end_ns),
    "AIRCHECK_START_PTS_MS": lambda _, segment: segment.start_pts_ms,
    "AIRCHECK_DURATION_MS": lambda _, segment: segment.duration_ms,
    "AIRCHECK_SIZE_BYTES": lambda _, segment: segment.size_bytes,
    "AIRCHECK_TRACKS": lambda _, segment: json.dumps(plain_value(segment.tracks)),
    "AIRCHECK_GAPS": lambda _, segment: sum(not gap.is_seam for gap in segment.gaps),
    "AIRCHECK_IS_RECOVERED": lambda _, segment: "true" if segment.is_recovered else "false",
}

HOOK_VARIABLES = frozenset(_VARIABLES)
"""They begin like variables that are settings, and are none: a hook may run this program's commands."""


def hook_arguments(recording: RecordingFacts, segment: SegmentFacts) -> list[str]:
    """`$1` is the stream's name, `$2` the absolute path of the file.

    For several streams in one file: its path, its beginning in ms since 1970, its duration in ms, the URI.
    """
    if recording.is_of_several:
        start_ms = segment.start_ns // 1_000_000
        return [segment.path, str(start_ms), str(segment.duration_ms), recording.media_session_id]
    return [recording.stream_name, segment.path]


def hook_variables(recording: RecordingFacts, segment: SegmentFacts) -> dict[str, str]:
    """Times are UTC, ISO 8601 to the millisecond; what is not known is empty."""
    return {name: str(get(recording, segment)) for name, get in _VARIABLES.items()}


def _utc(time_ns: int | None) -> str:
    if time_ns is None:
        return ""
    time = datetime.fromtimestamp(time_ns // 1_000_000_000, UTC)
    return f"{time:%Y-%m-%dT%H:%M:%S}.{time_ns // 1_000_000 % 1000:03d}Z"
