"""Continuation: a recording whose first file goes on in that of an earlier one (`OnConflict.APPEND`).

The file belongs to whoever wrote to it last: it keeps its name and its segment's id, and its row changes over
to the new recording, and to the timeline of the stream that this one records, on which it may begin before 0.
In the steps of a segment's life that is

1. look: whatever still finishes a file of that name is waited for, then the file is read (in a thread);
2. the segment's *growing* row, with the new recording; the earlier recording's row without it;
3. a second name in the hidden folder, so that the file outlives whatever happens to the first one;
4. fragments; finalize; the second name goes. The note in the final file names the new recording.

A file that cannot go on is left alone: the recording gets one of its own, under the next free number, and an
event says why.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from aircheck.containers.capability import Container
from aircheck.containers.continuing import MAX_GAP_S, ContinuedFile, examine
from aircheck.containers.existing import CannotAppend
from aircheck.errors import AircheckError
from aircheck.facts import (
    EventKind,
    GapFacts,
    GapReason,
    RecordingFacts,
    RecordingState,
    SegmentFacts,
    SegmentState,
)
from aircheck.recording import finalize
from aircheck.recording.journal import Journal
from aircheck.recording.names import is_series, settled_name
from aircheck.recording.naming import OnConflict
from aircheck.recording.plan import RecordingPlan
from aircheck.recording.recording import Recording
from aircheck.recording.reports import Reports
from aircheck.recording.segment import Segment
from aircheck.recording.volume import Volume
from aircheck.segment_note import NoteError, decode_note, encode_note

_log = logging.getLogger(__name__)

_DIGITS = re.compile(r"[0-9]+")

WAIT_S = 10.0
"""So long media waits in memory for a file that is being finished or recovered."""

_NOTE_BYTES = 2048

_UNFINISHED = (SegmentState.GROWING, SegmentState.FINALIZING)


class AwaitedFiles(Protocol):
    """Files that are being made whole after a crash."""

    async def until_whole(self, is_meant: Callable[[str], bool]) -> None:
        """Wait for those whose names are meant."""
        ...


@dataclass(frozen=True, slots=True)
class Continuation:
    """A file that goes on: what it was, and whose. `owner` None: the file alone told what it is.

    `growing` is the name under which it grows: a second one, unless the hidden folder is on another disk.
    """

    file: ContinuedFile
    target: Path
    growing: Path
    earlier: SegmentFacts
    owner: RecordingFacts | None
    gap: GapFacts


class Continuations:
    """The files of a node that go on. `running` are its recordings, `until_done` waits for one that ended."""

    def __init__(
        self,
        journal: Journal,
        reports: Reports,
        *,
        volume_of: Callable[[Path], Volume],
        running: Callable[[], Iterable[Recording]],
        until_done: Callable[[Recording], Awaitable[object]],
    ) -> None:
        self.awaited_files: AwaitedFiles | None = None
        self._journal = journal
        self._reports = reports
        self._volume_of = volume_of
        self._running = running
        self._until_done = until_done
        self._by_segment: dict[Segment, Continuation] = {}

    def of(self, segment: Segment) -> Continuation | None:
        return self._by_segment.get(segment)

    async def begin(self, recording: Recording, segment: Segment) -> None:
        """Have the segment, which is not open yet, go on in the file that has its name, if that can be."""
        try:
            await self._begin(recording, segment)
        except FileNotFoundError:
            return
        except (AircheckError, NoteError, OSError) as error:
            await self._refuse(recording, segment, getattr(error, "message", str(error)))

    async def tell(self, recording: Recording, segment: Segment) -> None:
        """The segment's row says that it goes on; now the row of the recording which had it does, too."""
        continuation = self._by_segment[segment]
        owner, gap = continuation.owner, continuation.gap
        if owner is not None:
            rest = [one for one in await self._journal.segments(owner.id) if one.id != segment.facts.id]
            text = f"its file goes on in recording {recording.facts.id}"
            await self._journal.put_recording(replace(with_sums(owner, rest), error=text))
        facts: dict[str, object] = {
            "earlier_recording": continuation.earlier.recording_id,
            "at_ms": continuation.file.earlier_duration_ms,
            "gap_ms": gap.duration_ms,
        }
        await self._reports.say(EventKind.RECORDING_APPENDED, recording, segment.facts, facts)

    async def give_back(self, recording: Recording, segment: Segment) -> None:
        """Nothing was recorded: file and rows are what they were. Raises OSError."""
        continuation = self._by_segment[segment]
        target = continuation.target

        def work() -> int:
            continuation.file.give_back()
            if Path(segment.facts.path) != target:
                finalize.forget(Path(segment.facts.path))
            return target.stat().st_size

        size_bytes = await recording.volume.finalize(work)
        earlier, owner = continuation.earlier, continuation.owner
        if owner is None:
            earlier = replace(earlier, recording_id=recording.facts.id)
        complete = replace(
            earlier,
            id=segment.facts.id,
            state=SegmentState.COMPLETE,
            path=str(target),
            file_name=segment.facts.file_name,
            size_bytes=size_bytes,
        )
        await self._journal.put_segment(complete)
        if owner is not None:
            await self._journal.put_recording(owner)

    def end(self, segment: Segment) -> None:
        """Another recording may go on in this file now."""
        self._by_segment.pop(segment, None)

    # looking

    async def _begin(self, recording: Recording, segment: Segment) -> None:
        plan = recording.plan
        name = settled_name(recording.facts, segment.facts, plan)
        if name is None:
            raise CannotAppend("the name of a file that is to be continued must be known when it begins")
        await self._until_finished(recording, name)
        if is_series(plan):
            await self._go_to_the_last(recording, segment)
            name = segment.facts.file_name
        target = plan.record_dir / name
        self._require_free(target)
        look = partial(examine, target, Container(segment.facts.container), segment.first_tracks)
        file = await recording.volume.finalize(look)
        if plan.rotation.is_due(file.earlier_duration_ms, file.earlier_size_bytes):
            file.close()
            self._go_behind(recording, segment)
            return
        try:
            continuation = await self._continuation(recording, segment, target, file)
            self._require_free(target)
            on_disk_of = self._volume_of(plan.record_dir)
        except BaseException:
            file.close()
            raise
        self._by_segment[segment] = continuation
        self._take_over(recording, segment, continuation, on_disk_of)

    def _require_free(self, target: Path) -> None:
        if any(continuation.target == target for continuation in self._by_segment.values()):
            raise CannotAppend("another recording goes on in it")

    async def _until_finished(self, recording: Recording, name: str) -> None:
        is_meant = _series(name) if is_series(recording.plan) else name.__eq__
        try:
            async with asyncio.timeout(WAIT_S):
                if self.awaited_files is not None:
                    await self.awaited_files.until_whole(is_meant)
                for other in self._running():
                    if other is not recording and _is_finishing(other, is_meant):
                        await self._until_done(other)
        except TimeoutError:
            raise CannotAppend(f"it has not been finished within {WAIT_S:g} s") from None

    async def _go_to_the_last(self, recording: Recording, segment: Segment) -> None:
        """The files of a rotated recording go on with the last one."""
        facts, plan = recording.facts, recording.plan

        def look() -> SegmentFacts:
            last = segment.facts
            while True:
                following = replace(last, index=last.index + 1)
                following = replace(following, file_name=settled_name(facts, following, plan) or "")
                if not (plan.record_dir / following.file_name).exists():
                    return last
                last = following

        last = await recording.volume.finalize(look)
        if last.index != segment.facts.index:
            segment.facts = last
            recording.number_from(last.index + 1)

    def _go_behind(self, recording: Recording, segment: Segment) -> None:
        """The file is as long as one may be: the next one of its series begins."""
        if not is_series(recording.plan):
            raise CannotAppend("it is as long as a file may be")
        following = replace(segment.facts, index=segment.facts.index + 1)
        name = settled_name(recording.facts, following, recording.plan)
        segment.facts = replace(following, file_name=name or "")
        recording.number_from(following.index + 1)

    async def _continuation(
        self, recording: Recording, segment: Segment, target: Path, file: ContinuedFile
    ) -> Continuation:
        _, noted = decode_note(file.note)
        row = await self._journal.segment(noted.id)
        if row is not None and row.state in _UNFINISHED:
            raise CannotAppend("it is not finished")
        if row is not None and await asyncio.to_thread(_is_elsewhere, Path(row.path), target):
            # A copy of a recording, made by hand: the original keeps row and id.
            row, noted = None, replace(noted, id=segment.facts.id)
        earlier = row or noted
        if any(one.facts.id == earlier.recording_id for one in self._running()):
            raise CannotAppend("the recording that it belongs to still runs")
        owner = await self._journal.recording(row.recording_id) if row is not None else None
        growing = recording.plan.growing_dir / f"{earlier.id}{target.suffix}"
        if not await asyncio.to_thread(_is_one_disk, target, growing.parent):
            growing = target
        gap = _gap(recording.plan, segment, earlier, file)
        return Continuation(file, target, growing, earlier, owner, gap)

    # taking over

    def _take_over(
        self, recording: Recording, segment: Segment, continuation: Continuation, volume: Volume
    ) -> None:
        file, gap, target = continuation.file, continuation.gap, continuation.target
        earlier = continuation.earlier
        before_ms = file.earlier_duration_ms + gap.duration_ms
        start_ms = segment.start_ms - before_ms
        shift_ms = start_ms - earlier.start_pts_ms
        gaps = [replace(one, start_ms=one.start_ms + shift_ms) for one in earlier.gaps]
        facts = replace(
            earlier,
            recording_id=recording.facts.id,
            index=segment.facts.index,
            state=SegmentState.GROWING,
            container=segment.facts.container,
            path=str(continuation.growing),
            file_name=target.relative_to(recording.plan.record_dir).as_posix(),
            start_pts_ms=start_ms,
            end_ns=None,
            size_bytes=file.earlier_size_bytes,
            duration_ms=file.earlier_duration_ms,
            tracks=file.earlier_tracks,
            is_recovered=False,
            error="",
            gaps=(*gaps, gap),
        )
        segment.go_on_in(
            facts,
            lambda path, tracks, facts: _open(file, target, path, gap.duration_ms),
            volume,
            before_ms=before_ms,
            before_bytes=file.earlier_size_bytes,
        )
        if not gap.is_seam:
            recording.gap_log.add(gap)
        _log.info(
            "recording appends stream=%s recording=%s file=%s earlier=%s at_s=%.1f gap_s=%.1f",
            recording.stream.name,
            recording.facts.id,
            facts.file_name,
            earlier.recording_id,
            file.earlier_duration_ms / 1000,
            gap.duration_ms / 1000,
        )

    async def _refuse(self, recording: Recording, segment: Segment, reason: str) -> None:
        name = segment.facts.file_name
        _log.warning(
            "cannot append, the recording has a file of its own stream=%s recording=%s file=%s reason=%s",
            recording.stream.name,
            recording.facts.id,
            name,
            reason,
        )
        facts: dict[str, object] = {"file_name": name, "reason": reason}
        await self._reports.until_begun(recording.facts.id)
        await self._reports.say(EventKind.RECORDING_NOT_APPENDED, recording, facts=facts)


def note_of(recording: RecordingFacts, segment: SegmentFacts) -> bytes:
    """The note of a file that goes on, perhaps for the hundredth time: of its gaps the last ones.

    Containers have room for two notes at a time, of the length that one has without gaps and 2 KiB more.
    """
    note, gaps = encode_note(recording, segment), segment.gaps
    while len(note) > _NOTE_BYTES and gaps:
        gaps = gaps[len(gaps) // 2 + 1 :]
        note = encode_note(recording, replace(segment, gaps=gaps))
    return note


def with_sums(recording: RecordingFacts, segments: Iterable[SegmentFacts]) -> RecordingFacts:
    """The recording with its sums over the complete ones of these."""
    complete = [one for one in segments if one.state is SegmentState.COMPLETE]
    return replace(
        recording,
        segment_count=len(complete),
        size_bytes=sum(one.size_bytes for one in complete),
        duration_ms=sum(one.duration_ms for one in complete),
        gaps=sum(not gap.is_seam for one in complete for gap in one.gaps),
    )


def _series(first: str) -> Callable[[str], bool]:
    """Whether a name is one of those that a rotated recording has whose first file is called so."""
    stem, is_behind, extension = first.rpartition("_1.")
    if not is_behind:  # the template says where the number stands
        return lambda name: _DIGITS.sub("", name) == _DIGITS.sub("", first)
    pattern = re.compile(rf"{re.escape(stem)}_[0-9]+\.{re.escape(extension)}")
    return lambda name: pattern.fullmatch(name) is not None


def _is_finishing(other: Recording, is_meant: Callable[[str], bool]) -> bool:
    """Whether a recording that has ended is about to give a file such a name, or to write its last rows."""
    if other.facts.state is not RecordingState.FINALIZING:
        return False
    return any(is_meant(facts.file_name) for facts in (*other.completed, *(s.facts for s in other.segments)))


def _is_one_disk(path: Path, other: Path) -> bool:
    return path.stat().st_dev == other.stat().st_dev


def _is_elsewhere(path: Path, target: Path) -> bool:
    with suppress(OSError):
        return not path.samefile(target)
    return False


def _gap(plan: RecordingPlan, segment: Segment, earlier: SegmentFacts, file: ContinuedFile) -> GapFacts:
    """Where the file goes on, on the timeline of the stream that is recorded now."""
    gap_ms, now_ns = 0, segment.facts.start_ns
    if plan.on_conflict is OnConflict.APPEND_WITH_GAP:
        end_ns = earlier.end_ns or earlier.start_ns + file.earlier_duration_ms * 1_000_000
        gap_ms = max(0, (now_ns - end_ns) // 1_000_000)
    if gap_ms > MAX_GAP_S * 1000:
        raise CannotAppend(f"a gap of {gap_ms / 3_600_000:.0f} h is longer than the 12 h that files can have")
    return GapFacts(segment.start_ms - gap_ms, gap_ms, GapReason.APPEND, at_ns=now_ns)


def _open(file: ContinuedFile, target: Path, growing: Path, gap_ms: int) -> ContinuedFile:
    """On the volume's writer thread. Raises OSError."""
    if growing != target and finalize.hold(target, growing):
        file.path = growing
    file.begin(gap_ms=gap_ms)
    return file
