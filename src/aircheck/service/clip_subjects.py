"""What clips are cut from: a file of the catalogue, or all files of a recording."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from aircheck.catalog import Catalog
from aircheck.facts import SegmentFacts, SegmentState
from aircheck.service.clip_range import ClipRange
from aircheck.service.downloads import BY_ID, check_name, not_found
from aircheck.service.errors import Conflict, NotFound, OutsideRange
from aircheck.service.recordings import UNFINISHED as RUNNING
from aircheck.service.recordings import RecordingService

UNFINISHED = (SegmentState.GROWING, SegmentState.FINALIZING)

_MS = 1000
_FIRST_PART = "_1"


@dataclass(frozen=True, slots=True)
class ClipSubject:
    """What is to be cut: a file or several in a row, and the name that its clips have before the range.

    `id` is the segment's or the recording's.
    """

    id: str
    name: str
    segments: tuple[SegmentFacts, ...]
    is_running: bool = False
    """More files may come."""

    @property
    def is_growing(self) -> bool:
        return self.is_running or any(segment.state in UNFINISHED for segment in self.segments)

    @property
    def duration_ms(self) -> int:
        first, last = self.segments[0], self.segments[-1]
        return last.start_pts_ms + last.duration_ms - first.start_pts_ms

    @property
    def size_bytes(self) -> int:
        return sum(segment.size_bytes for segment in self.segments)

    def clamped(self, clip: ClipRange) -> ClipRange:
        """The same part in one way: an end that is not before the end of it all is none.

        Of what grows a part without an end is another one tomorrow.
        """
        if self.is_growing or clip.end_s is None or clip.end_s * _MS < self.duration_ms:
            return clip
        return ClipRange(clip.start or "0")

    def is_whole(self, clip: ClipRange, container: str) -> bool:
        """Whether a finished file is already what is asked for, after `clamped`."""
        is_one_file = len(self.segments) == 1 and self.segments[0].container == container
        return is_one_file and not self.is_growing and not clip.start_s and clip.end_s is None

    def check(self, clip: ClipRange) -> None:
        """Raises `OutsideRange` for what it does not have, `Conflict` for what it does not have yet."""
        length_s = self.duration_ms / _MS
        until = f"so far it is {length_s:g} s long" if self.is_growing else f"it is {length_s:g} s long"
        if clip.start_s is not None and clip.start_s * _MS >= self.duration_ms:
            raise OutsideRange(
                f"{self.name!r} has nothing at {clip.start} s: {until}", remedy="ask for an earlier part"
            )
        if self.is_growing and clip.end_s is not None and clip.end_s * _MS > self.duration_ms:
            raise Conflict(
                f"{self.name!r} is still being recorded and has not come to {clip.end} s: {until}",
                remedy="ask again when it has, or leave out `end` for what there is now",
            )


class ClipSubjects:
    """Finds them."""

    def __init__(self, catalog: Catalog, recordings: RecordingService) -> None:
        self._catalog = catalog
        self._recordings = recordings

    async def named(self, name: str) -> ClipSubject:
        """Of a file, or of a recording by the name of its files. Raises `NotFound`."""
        check_name(name)
        if name.startswith(BY_ID):
            wanted = PurePosixPath(name.removeprefix(BY_ID)).stem
            found = await self._segment(await self._catalog.segment(wanted)) or await self.recording(wanted)
        else:
            found = await self._segment(await self._catalog.segment_by_file_name(name))
            found = found or await self._of_parts(name)
        if found is None:
            raise not_found(name)
        return found

    async def _segment(self, segment: SegmentFacts | None) -> ClipSubject | None:
        if segment is None:
            return None
        if segment.state in UNFINISHED:
            detail = await self._recordings.get(segment.recording_id)
            segment = next((one for one in detail.segments if one.id == segment.id), segment)
        _check_state(segment)
        return ClipSubject(segment.id, segment.file_name, (segment,))

    async def _of_parts(self, name: str) -> ClipSubject | None:
        first = await first_part(self._catalog, name)
        if first is None:
            return None
        subject = await self.recording(first.recording_id)
        return None if subject is None else replace(subject, name=name)

    async def recording(self, recording_id: str) -> ClipSubject | None:
        try:
            detail = await self._recordings.get(recording_id)
        except NotFound:
            return None
        segments = tuple(one for one in detail.segments if one.state is not SegmentState.FAILED)
        if not segments:
            return None
        is_running = detail.facts.state in RUNNING
        return ClipSubject(recording_id, without_part(segments[0]), segments, is_running)


async def first_part(catalog: Catalog, name: str) -> SegmentFacts | None:
    """Of `stream.mp4`, a recording whose files are `stream_1.mp4`, `stream_2.mp4`, …"""
    stem, dot, extension = name.rpartition(".")
    first = await catalog.segment_by_file_name(f"{stem}{_FIRST_PART}{dot}{extension}")
    return first if first is not None and first.index == 1 else None


def _check_state(segment: SegmentFacts) -> None:
    if segment.state is SegmentState.FAILED:
        error = segment.error or "its file could not be finished"
        raise NotFound(
            f"the recording {segment.file_name!r} failed: {error}",
            remedy="GET /api/v1/recordings tells what was saved; recovery tries again at the next start",
        )


def without_part(first: SegmentFacts) -> str:
    """The name of a recording: that of its first file, without its number."""
    stem, dot, extension = first.file_name.rpartition(".")
    return f"{stem.removesuffix(_FIRST_PART) if first.index == 1 else stem}{dot}{extension}"
