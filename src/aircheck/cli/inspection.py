"""What `aircheck inspect` found: the files of a recording beside what the catalogue or their notes say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from aircheck.catalog import Catalog
from aircheck.containers.survey import Survey, TrackSurvey, survey_file
from aircheck.errors import ConfigError, ContainerError
from aircheck.facts import GapFacts, RecordingFacts, RecordingState, SegmentFacts, SegmentState
from aircheck.segment_note import NoteError, decode_note
from aircheck.service.clip_subjects import first_part

Progress = Callable[[Path, int, int], None]


@dataclass(frozen=True, slots=True)
class Part:
    """One file: what is known of it as a segment, and what was found in it, or why nothing was."""

    path: Path
    segment: SegmentFacts | None
    survey: Survey | None
    error: str = ""

    @property
    def duration_ms(self) -> int:
        return self.survey.duration_ms if self.survey is not None else 0

    @property
    def size_bytes(self) -> int:
        return self.survey.size_bytes if self.survey is not None else 0

    @property
    def start_ms(self) -> int:
        """Its time 0 on the stream's own timeline."""
        if self.survey is not None and self.survey.own is not None:
            return self.survey.own.start_ms
        return self.segment.start_pts_ms if self.segment is not None else 0

    @property
    def end_ms(self) -> int:
        return self.start_ms + self.duration_ms

    @property
    def is_growing(self) -> bool:
        return self.segment is not None and self.segment.state is SegmentState.GROWING

    @property
    def wall_clock_ms(self) -> int | None:
        """From its first packet to its last as they came; a growing file's last write stands for that."""
        if self.segment is None:
            return None
        end_ns = self.segment.end_ns
        if end_ns is None or self.is_growing:
            end_ns = self.path.stat().st_mtime_ns if self.path.exists() else self.segment.start_ns
        return max(0, end_ns - self.segment.start_ns) // 1_000_000

    @property
    def drift_ms(self) -> int | None:
        """How much longer the media is than the time in which it came."""
        wall_ms = self.wall_clock_ms
        return None if wall_ms is None or self.survey is None else self.duration_ms - wall_ms


@dataclass(frozen=True, slots=True)
class Inspection:
    """A recording, or a file that belongs to none that is known."""

    recording: RecordingFacts | None
    parts: tuple[Part, ...]

    @property
    def duration_ms(self) -> int:
        return sum(part.duration_ms for part in self.parts)

    @property
    def size_bytes(self) -> int:
        return sum(part.size_bytes for part in self.parts)

    @property
    def gaps(self) -> tuple[GapFacts, ...]:
        """On the stream's own timeline."""
        segments = (part.segment for part in self.parts if part.segment is not None)
        return tuple(gap for segment in segments for gap in segment.gaps)

    @property
    def wall_clock_ms(self) -> int | None:
        """From the first packet of the first file to the last of the last."""
        segments = [part.segment for part in self.parts if part.segment is not None]
        if not segments:
            return None
        last_ms = self.parts[-1].wall_clock_ms
        before_ms = (segments[-1].start_ns - segments[0].start_ns) // 1_000_000
        return None if last_ms is None else before_ms + last_ms

    def to_json(self) -> dict[str, Any]:
        return {
            "recording": asdict(self.recording) if self.recording is not None else None,
            "duration_ms": self.duration_ms,
            "wall_clock_ms": self.wall_clock_ms,
            "size_bytes": self.size_bytes,
            "gaps": [asdict(gap) for gap in self.gaps],
            "segments": [_part_json(part) for part in self.parts],
        }


def inspect_path(path: Path, progress: Progress | None = None) -> Inspection:
    """One file, by what it says itself. Raises ContainerError, OSError."""
    if path.is_dir():
        raise ConfigError(f"{path} is a folder", remedy="name a file in it")
    survey = _survey(path, progress)
    if survey.own is None:
        return Inspection(None, (Part(path, None, survey),))
    try:
        recording, segment = decode_note(survey.own.note)
    except NoteError:
        return Inspection(None, (Part(path, None, survey),))
    if survey.own.is_final:
        # The note was written before the file was final and named: what lies there is what counts.
        segment = replace(segment, state=SegmentState.COMPLETE, file_name=path.name)
        recording = replace(recording, state=RecordingState.COMPLETE)
    return Inspection(recording, (Part(path, segment, survey),))


async def find_recording(
    catalog: Catalog, wanted: str
) -> tuple[RecordingFacts, tuple[SegmentFacts, ...]] | None:
    """By the id of a recording, the id of a segment, or a file name as it is listed.

    The files of a rotated recording also go by one name, without the part number.
    """
    recording = await catalog.recording(wanted)
    segment = None
    if recording is None:
        segment = await catalog.segment(wanted) or await catalog.segment_by_file_name(wanted)
        any_part = segment or await first_part(catalog, wanted)
        recording = None if any_part is None else await catalog.recording(any_part.recording_id)
    if recording is None:
        return None
    return recording, (segment,) if segment is not None else await catalog.segments(recording.id)


def inspect_segments(
    recording: RecordingFacts, segments: tuple[SegmentFacts, ...], progress: Progress | None = None
) -> Inspection:
    """All files of a recording, the unreadable ones with the reason. Blocking."""
    return Inspection(recording, tuple(_part(segment, progress) for segment in segments))


def _part(segment: SegmentFacts, progress: Progress | None) -> Part:
    path = Path(segment.path)
    if segment.state is SegmentState.FAILED:
        return Part(path, segment, None, segment.error or "failed")
    try:
        return Part(path, segment, _survey(path, progress))
    except OSError as error:
        return Part(path, segment, None, error.strerror or str(error))
    except ContainerError as error:
        return Part(path, segment, None, error.message)


def _survey(path: Path, progress: Progress | None) -> Survey:
    if progress is None:
        return survey_file(path)
    return survey_file(path, progress=lambda done, total: progress(path, done, total))


def _part_json(part: Part) -> dict[str, Any]:
    known = {
        "path": str(part.path),
        "segment": asdict(part.segment) if part.segment is not None else None,
        "wall_clock_ms": part.wall_clock_ms,
        "drift_ms": part.drift_ms,
    }
    survey = part.survey
    if survey is None:
        return known | {"error": part.error}
    begins_ms, ends_ms = survey.skew_ms or (None, None)
    return known | {
        "container": survey.container,
        "is_final": survey.own.is_final if survey.own is not None else None,
        "size_bytes": survey.size_bytes,
        "skipped_bytes": survey.skipped_bytes,
        "duration_ms": survey.duration_ms,
        "bitrate_bps": survey.bitrate_bps,
        "audio_begins_after_video_ms": begins_ms,
        "audio_ends_after_video_ms": ends_ms,
        "tracks": [_track_json(track) for track in survey.tracks],
    }


def _track_json(track: TrackSurvey) -> dict[str, Any]:
    return asdict(track.facts) | {
        "bitrate_bps": track.bitrate_bps,
        "start_ms": track.start_ms,
        "end_ms": track.end_ms,
        "keyframes": track.keyframes,
        "key_interval": asdict(track.key_interval) if track.key_interval is not None else None,
        "jumps": [asdict(jump) for jump in track.jumps],
        "picture_changes": [asdict(change) for change in track.picture_changes],
    }
