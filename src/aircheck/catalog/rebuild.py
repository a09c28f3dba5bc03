"""Rebuild: rows out of files. A file tells what it is by its note and by what a probe sees in it.

Notes are written when a file is created and possibly again when it is finalized. What only the end of a
recording knows (its reason, gaps) comes back if the last note knew it; sizes, durations and tracks always
come from the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from aircheck.facts import RecordingFacts, RecordingState, SegmentFacts, SegmentState, TrackFacts

_NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class ProbedFile:
    """What a file of ours says of itself: the facts of its note, and what is really there.

    `is_final` means that nothing is left to finalize or recover.
    """

    recording: RecordingFacts
    segment: SegmentFacts
    is_final: bool
    size_bytes: int
    duration_ms: int
    tracks: tuple[TrackFacts, ...] = ()


@dataclass(frozen=True, slots=True)
class ProbedClip:
    """A part of a recording that is kept: a file of ours that needs no row."""


class FileProbe(Protocol):
    """Looks into files; handed in by the app, because containers are not the catalogue's business."""

    def probe(self, path: Path) -> ProbedFile | ProbedClip | None:
        """None for a foreign file. Called in a thread. Raises OSError or AircheckError if it cannot tell."""
        ...


def rebuild_segment(path: Path, root: Path, probed: ProbedFile) -> SegmentFacts:
    """The row of a file below a record folder.

    A file that is not final, or not yet renamed from the growing name that its note was written under,
    becomes a growing row: recovery at the next start finishes it.
    """
    note = probed.segment
    found = replace(
        note,
        path=str(path),
        size_bytes=probed.size_bytes,
        duration_ms=probed.duration_ms,
        tracks=probed.tracks or note.tracks,
    )
    has_growing_name = note.state is SegmentState.GROWING and note.path == str(path)
    if not probed.is_final or has_growing_name:
        return replace(found, state=SegmentState.GROWING)
    end_ns = note.start_ns + probed.duration_ms * _NS_PER_MS if note.end_ns is None else note.end_ns
    return replace(
        found, state=SegmentState.COMPLETE, file_name=path.relative_to(root).as_posix(), end_ns=end_ns
    )


def rebuild_recording(note: RecordingFacts, segments: Sequence[SegmentFacts]) -> RecordingFacts:
    """The row of a recording that has none, from a note and all its segments that were found."""
    recording = with_sums(note, segments)
    if any(segment.state is SegmentState.GROWING for segment in segments):
        return replace(recording, state=RecordingState.RECORDING)
    ends_ns = [segment.end_ns for segment in segments if segment.end_ns is not None]
    is_failed = note.state is RecordingState.FAILED
    return replace(
        recording,
        state=RecordingState.FAILED if is_failed else RecordingState.COMPLETE,
        end_ns=max(ends_ns, default=None) if note.end_ns is None else note.end_ns,
    )


def with_sums(recording: RecordingFacts, segments: Sequence[SegmentFacts]) -> RecordingFacts:
    """The recording with its sums over complete segments. Gaps that were between files are not forgotten."""
    complete = [segment for segment in segments if segment.state is SegmentState.COMPLETE]
    gaps = [gap for segment in complete for gap in segment.gaps if not gap.is_seam]
    return replace(
        recording,
        segment_count=len(complete),
        size_bytes=sum(segment.size_bytes for segment in complete),
        duration_ms=sum(segment.duration_ms for segment in complete),
        gaps=max(recording.gaps, len(gaps)),
        dropped_packets=max(recording.dropped_packets, sum(gap.dropped_packets for gap in gaps)),
    )
