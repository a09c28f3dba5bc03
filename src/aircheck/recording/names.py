"""The names of a recording's files: its facts put into its plan's template."""

from __future__ import annotations

import re
from collections.abc import Iterable

from aircheck.containers.capability import Container, nearest
from aircheck.facts import RecordingFacts, SegmentFacts
from aircheck.media.track import Track
from aircheck.recording.naming import NameElements
from aircheck.recording.plan import RecordingPlan

_SHORT_CODECS = {"pcma": "g711", "pcmu": "g711", "speex": "spx"}
"""Names of codecs are cut to four characters in file names; these would say nothing then."""

_PREFIX = re.compile(r"(?:mp4|f4v|flv):(?=.)", re.IGNORECASE)
_SUFFIX = re.compile(r"(?<=.)\.(?:mp4|f4v|flv)$", re.IGNORECASE)


def expected_name(recording: RecordingFacts, plan: RecordingPlan, tracks: Iterable[Track]) -> str:
    """The name of the first file as far as it is known before there is one, for a stream of these tracks."""
    pictures = (track.codec for track in tracks if track.is_video)
    container = nearest(Container(recording.container), pictures, plan.preferred)
    unknown = NameElements(
        stream_name=plain_name(recording.stream_name),
        app=recording.app,
        session_id=recording.session_id,
        media_session_id=recording.media_session_id,
        login=recording.login,
        start_ns=recording.start_ns,
    )
    part = 1 if _is_numbered(plan) else None
    return plan.template.preview(unknown, extension=container, part=part)


def settled_name(recording: RecordingFacts, segment: SegmentFacts, plan: RecordingPlan) -> str | None:
    """The name of a file that begins; None when its end will be part of it."""
    if not plan.template.is_settled(_elements(recording, segment, is_final=False)):
        return None
    return preview_name(recording, segment, plan)


def preview_name(recording: RecordingFacts, segment: SegmentFacts, plan: RecordingPlan) -> str:
    """The name while the file grows: what is not known yet stays a literal `{endTime}`."""
    return _preview(recording, segment, plan, is_numbered=_is_numbered(plan))


def final_name(recording: RecordingFacts, segment: SegmentFacts, plan: RecordingPlan) -> str:
    """The name of a finished file, relative to the record folder."""
    return _final(recording, segment, plan, is_numbered=_is_numbered(plan))


def recovered_name(recording: RecordingFacts, segment: SegmentFacts, plan: RecordingPlan) -> str:
    """The same after a crash: numbered if the preview was, whatever the settings say by now."""
    was_numbered = segment.file_name == _preview(recording, segment, plan, is_numbered=True)
    return _final(recording, segment, plan, is_numbered=was_numbered)


def is_series(plan: RecordingPlan) -> bool:
    """Whether files of such a recording have a number each."""
    return plan.rotation.is_rotating and (plan.has_rotation_index or plan.template.has_part)


def _is_numbered(plan: RecordingPlan) -> bool:
    """Whether a number is put behind the name: the template may have a place of its own for it."""
    return is_series(plan) and not plan.template.has_part


def _preview(
    recording: RecordingFacts, segment: SegmentFacts, plan: RecordingPlan, *, is_numbered: bool
) -> str:
    return plan.template.preview(
        _elements(recording, segment, is_final=False),
        extension=segment.container,
        part=segment.index if is_numbered else None,
    )


def _final(
    recording: RecordingFacts, segment: SegmentFacts, plan: RecordingPlan, *, is_numbered: bool
) -> str:
    return plan.template.resolve(
        _elements(recording, segment, is_final=True),
        extension=segment.container,
        part=segment.index if is_numbered else None,
    )


def plain_name(stream_name: str) -> str:
    """The name without what clients of Flash Media Server say of the file: `mp4:news.mp4` is `news`."""
    prefix = _PREFIX.match(stream_name)
    return stream_name if prefix is None else _SUFFIX.sub("", stream_name[prefix.end() :])


def _elements(recording: RecordingFacts, segment: SegmentFacts, *, is_final: bool) -> NameElements:
    return NameElements(
        stream_name=plain_name(recording.stream_name),
        app=recording.app,
        session_id=recording.session_id,
        media_session_id=recording.media_session_id,
        login=recording.login,
        start_ms=segment.start_pts_ms,
        end_ms=segment.start_pts_ms + segment.duration_ms if is_final else None,
        start_ns=segment.start_ns,
        end_ns=segment.end_ns if is_final else None,
        duration_ms=segment.duration_ms if is_final else None,
        audio_codec=_codec(segment, "audio"),
        video_codec=_codec(segment, "video"),
        part=segment.index,
    )


def _codec(segment: SegmentFacts, kind: str) -> str:
    codec = next((track.codec for track in segment.tracks if track.kind == kind), "")
    return _SHORT_CODECS.get(codec, codec)
