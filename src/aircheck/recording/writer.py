"""Which container writes a segment, and the note that it carries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from aircheck.containers.capability import Container, index_bytes
from aircheck.containers.flv import FlvWriter
from aircheck.containers.matroska import MatroskaWriter, WebmWriter
from aircheck.containers.mp4 import Mp4Writer
from aircheck.containers.mpegts import TsWriter
from aircheck.facts import SegmentFacts
from aircheck.media.track import Track
from aircheck.recording.plan import RecordingPlan
from aircheck.recording.segment import SegmentWriter
from aircheck.segment_note import encode_note

if TYPE_CHECKING:
    from aircheck.recording.recording import Recording

RESERVE_MIN_BYTES = 64 * 1024
"""For containers that index key frames only: an hour of them, whatever MP4 is given."""

INIT_BYTES = 2048
"""Of MP4's description of a track, before it has samples."""


class _NewWriter(Protocol):
    def __call__(
        self, path: Path, tracks: Sequence[Track], *, note: bytes, creation_ns: int, reserve_bytes: int
    ) -> SegmentWriter: ...


_WRITERS: Mapping[Container, _NewWriter] = {
    Container.MP4: Mp4Writer,
    Container.MKV: MatroskaWriter,
    Container.WEBM: WebmWriter,
    Container.TS: TsWriter,
    Container.FLV: FlvWriter,
}


def open_writer(
    recording: Recording, path: Path, tracks: Sequence[Track], segment: SegmentFacts
) -> SegmentWriter:
    """Create the file of a segment. Runs on the volume's writer thread; raises OSError."""
    container = Container(segment.container)
    new_writer = _WRITERS[container]
    late_tracks = recording.plan.late_tracks
    if late_tracks and container is Container.MP4:
        new_writer = partial(Mp4Writer, init_bytes=late_tracks * INIT_BYTES)
    elif late_tracks and container in (Container.MKV, Container.WEBM):
        matroska_writer = WebmWriter if container is Container.WEBM else MatroskaWriter
        new_writer = partial(matroska_writer, max_tracks=len(tracks) + late_tracks)
    return new_writer(
        path,
        tracks,
        note=encode_note(recording.facts, segment),
        creation_ns=segment.start_ns,
        reserve_bytes=_reserve_bytes(recording.plan, container),
    )


def _reserve_bytes(plan: RecordingPlan, container: Container) -> int:
    """Room for the final index of the longest segment, as far as that is known."""
    needed = index_bytes(container, (plan.rotation.duration_ms or 0) // 1000)
    return max(plan.reserve_bytes, needed) if container is Container.MP4 else max(RESERVE_MIN_BYTES, needed)
