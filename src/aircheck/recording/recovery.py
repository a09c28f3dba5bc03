"""After a crash: every file that was growing is made whole, named, catalogued, and its recording is closed.

What there is to do is read once, before anything new is recorded: the rows that say *growing* or
*finalizing*, and the files in the growing folder, rows or none. The work itself runs beside the live
server. Each step can be interrupted and is taken up again at the next start.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from aircheck.clock import Clock
from aircheck.containers.recover import FileFacts, Outcome, read_note, recover_file
from aircheck.errors import AircheckError
from aircheck.facts import (
    EndReason,
    Event,
    EventKind,
    RecordingFacts,
    RecordingState,
    SegmentFacts,
    SegmentState,
)
from aircheck.recording import finalize
from aircheck.recording.journal import FinishedFiles, Journal
from aircheck.recording.names import recovered_name
from aircheck.recording.naming import NameTemplate
from aircheck.recording.plan import RecordingPlan
from aircheck.segment_note import NoteError, decode_note

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Unfinished:
    """What a crash left behind, as found at start."""

    segments: tuple[tuple[RecordingFacts, SegmentFacts], ...]
    recordings: tuple[RecordingFacts, ...]

    def __len__(self) -> int:
        return len(self.segments)


@dataclass(slots=True)
class RecoveryReport:
    recovered: int = 0
    empty: int = 0
    missing: int = 0
    failed: int = 0
    cut_bytes: int = 0


async def find_unfinished(journal: Journal, growing_dir: Path) -> Unfinished:
    """What is to be recovered. Files that are not ours are left alone and not listed."""
    recordings = {facts.id: facts for facts in await journal.unfinished_recordings()}
    segments: dict[str, tuple[RecordingFacts, SegmentFacts]] = {}
    for facts in await journal.segments_in_state(SegmentState.GROWING, SegmentState.FINALIZING):
        recording = recordings.get(facts.recording_id) or await journal.recording(facts.recording_id)
        if recording is not None:
            recordings[recording.id] = recording  # also one that ended without this file
            segments[facts.id] = (recording, facts)
    for recording, facts in await asyncio.to_thread(_read_notes, growing_dir):
        if facts.id not in segments:
            row = recordings.get(recording.id) or await journal.recording(recording.id)
            recordings[recording.id] = row or recording
            segments[facts.id] = (recordings[recording.id], facts)
    return Unfinished(tuple(segments.values()), tuple(recordings.values()))


async def recover(
    unfinished: Unfinished,
    journal: Journal,
    plan: RecordingPlan,
    clock: Clock,
    finished_files: FinishedFiles | None = None,
) -> RecoveryReport:
    """Make every file whole and close every recording. Never raises for a single file."""
    report = RecoveryReport()
    recovered: set[str] = set()
    for number, (recording, segment) in enumerate(unfinished.segments, 1):
        facts = await _recover_segment(recording, segment, journal, plan, report, finished_files)
        if facts.state is SegmentState.COMPLETE:
            recovered.add(recording.id)
            _log.info(
                "recovered file=%s stream=%s recording=%s number=%d of=%d",
                facts.file_name,
                recording.stream_name,
                recording.id,
                number,
                len(unfinished),
            )
    for recording in unfinished.recordings:
        await _close_recording(recording, recording.id in recovered, journal, clock)
    return report


async def _recover_segment(
    recording: RecordingFacts,
    segment: SegmentFacts,
    journal: Journal,
    plan: RecordingPlan,
    report: RecoveryReport,
    finished_files: FinishedFiles | None,
) -> SegmentFacts:
    growing = Path(segment.path)
    try:
        facts = await _to_the_end(_make_whole, growing, recording, segment, plan, report)
    except Exception as error:  # whatever it is about this file, the others are waiting
        report.failed += 1
        text = f"{type(error).__name__}: {error}"
        _log.error("cannot recover path=%s recording=%s error=%s", growing, recording.id, text)
        facts = replace(segment, error=text)
    if facts.state is SegmentState.COMPLETE:
        # A row may be missing altogether: the file was there before it.
        if await journal.recording(recording.id) is None:
            await journal.put_recording(recording)
        await journal.put_segment(facts)
        if finished_files is not None:
            await finished_files.file_finished(replace(recording, end_reason=EndReason.CRASHED), facts)
        await journal.add_event(_segment_event(recording, facts))
        await asyncio.to_thread(_forget, growing, Path(facts.path))
    else:
        await journal.put_segment(facts)
    return facts


async def _to_the_end(work: Callable[..., SegmentFacts], *facts: object) -> SegmentFacts:
    """In a thread, and waited for even by a server that stops: the next one must not meet it at its work."""
    done = asyncio.get_running_loop().run_in_executor(None, work, *facts)
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        await asyncio.wait({done})
        raise


def _make_whole(
    growing: Path,
    recording: RecordingFacts,
    segment: SegmentFacts,
    plan: RecordingPlan,
    report: RecoveryReport,
) -> SegmentFacts:
    if not growing.exists():
        name = recovered_name(recording, segment, _plan_of(recording, plan))
        placed = finalize.find_placed(plan.record_dir, name, segment.id)
        if placed is None:
            report.missing += 1
            return replace(segment, state=SegmentState.FAILED, error="the file is gone")
        growing = placed
    recovery = recover_file(growing)
    if recovery.outcome is Outcome.EMPTY:
        report.empty += 1
        finalize.forget(growing)
        return replace(segment, state=SegmentState.FAILED, error="no media had reached the disk")
    if recovery.facts is None or recovery.outcome is Outcome.FOREIGN:
        report.failed += 1
        return replace(segment, state=SegmentState.FAILED, error="the file is not one of ours")
    report.recovered += 1
    report.cut_bytes += recovery.bytes_cut
    known = _with_file_facts(segment, recovery.facts)
    name = recovered_name(recording, known, _plan_of(recording, plan))
    path = finalize.place(growing, plan.record_dir, name).path
    return replace(
        known,
        state=SegmentState.COMPLETE,
        path=str(path),
        file_name=path.relative_to(plan.record_dir).as_posix(),
    )


def _forget(growing: Path, final: Path) -> None:
    """Take the growing name away, unless it is the final one: somebody lets files grow where they stay."""
    if growing.resolve() != final.resolve():
        finalize.forget(growing)


def _plan_of(recording: RecordingFacts, plan: RecordingPlan) -> RecordingPlan:
    """The settings of today with the name that the recording was begun under."""
    current = plan.template
    template = NameTemplate.parse(
        recording.name_template,
        encoding=current.encoding,
        excluded_characters=current.excluded_characters,
    )
    return replace(plan, template=template)


def _with_file_facts(segment: SegmentFacts, file: FileFacts) -> SegmentFacts:
    return replace(
        segment,
        size_bytes=file.size_bytes,
        duration_ms=file.duration_ms,
        end_ns=segment.end_ns or segment.start_ns + file.duration_ms * 1_000_000,
        tracks=file.tracks,
        is_recovered=True,
        error="",
    )


async def _close_recording(
    recording: RecordingFacts, is_recovered: bool, journal: Journal, clock: Clock
) -> None:
    segments = await journal.segments(recording.id)
    complete = [facts for facts in segments if facts.state is SegmentState.COMPLETE]
    if any(facts.state in (SegmentState.GROWING, SegmentState.FINALIZING) for facts in segments):
        return  # a file of it could not be recovered now: the next start tries again
    facts = replace(
        recording,
        state=RecordingState.COMPLETE if complete else RecordingState.FAILED,
        end_ns=recording.end_ns
        or max((f.end_ns or f.start_ns for f in complete), default=recording.start_ns),
        end_reason=recording.end_reason or EndReason.CRASHED,
        error="" if complete else recording.error,
        segment_count=len(complete),
        size_bytes=sum(f.size_bytes for f in complete),
        duration_ms=sum(f.duration_ms for f in complete),
        gaps=sum(len(f.gaps) for f in complete),
    )
    await journal.put_recording(facts)
    if is_recovered:
        await journal.add_event(
            Event(
                kind=EventKind.RECORDING_RECOVERED,
                at_ns=clock.wall_ns(),
                stream_name=facts.stream_name,
                media_session_id=facts.media_session_id,
                recording_id=facts.id,
                facts={"segments": facts.segment_count, "duration_ms": facts.duration_ms},
            )
        )


def _segment_event(recording: RecordingFacts, segment: SegmentFacts) -> Event:
    return Event(
        kind=EventKind.SEGMENT_COMPLETED,
        at_ns=segment.end_ns or segment.start_ns,
        stream_name=recording.stream_name,
        media_session_id=recording.media_session_id,
        recording_id=recording.id,
        segment_id=segment.id,
        facts={
            "index": segment.index,
            "file_name": segment.file_name,
            "path": segment.path,
            "size_bytes": segment.size_bytes,
            "duration_ms": segment.duration_ms,
            "is_recovered": True,
        },
    )


def _read_notes(growing_dir: Path) -> list[tuple[RecordingFacts, SegmentFacts]]:
    """The facts that the files in the growing folder carry themselves."""
    return [note for path in _files(growing_dir) if (note := _read_note(path)) is not None]


def _read_note(path: Path) -> tuple[RecordingFacts, SegmentFacts] | None:
    with contextlib.suppress(OSError, AircheckError, NoteError):
        recording, segment = decode_note(read_note(path))
        return recording, replace(segment, path=str(path))
    return None


def _files(growing_dir: Path) -> Iterable[Path]:
    if not growing_dir.is_dir():
        return ()
    return sorted(path for path in growing_dir.iterdir() if path.is_file() and not path.is_symlink())
