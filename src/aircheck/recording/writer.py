"""Which container writes a segment, and the note that it carries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aircheck.containers.mp4 import Mp4Writer
from aircheck.facts import SegmentFacts
from aircheck.media.track import Track
from aircheck.recording.plan import RecordingPlan
from aircheck.recording.segment import SegmentWriter
from aircheck.segment_note import encode_note

if TYPE_CHECKING:
    from aircheck.recording.recording import Recording

RESERVE_BYTES_PER_S = 1024
"""What the final index takes, about."""


def open_writer(
    recording: Recording, path: Path, tracks: Sequence[Track], segment: SegmentFacts
) -> SegmentWriter:
    """Create the file of a segment. Runs on the volume's writer thread; raises OSError."""
    return Mp4Writer(
        path,
        tracks,
        note=encode_note(recording.facts, segment),
        creation_ns=segment.start_ns,
        reserve_bytes=_reserve_bytes(recording.plan),
    )


def _reserve_bytes(plan: RecordingPlan) -> int:
    """Room for the final index of the longest segment, as far as that is known."""
    longest_s = (plan.rotation.duration_ms or 0) // 1000
    return max(plan.reserve_bytes, longest_s * RESERVE_BYTES_PER_S)
