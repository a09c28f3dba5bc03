"""After a crash: every file that was growing is made whole, named, catalogued, and its recording is closed.

What there is to do is read once, before anything new is recorded: the rows that say *growing* or
*finalizing*, and the files in the growing folder, rows or none. The work itself runs beside the live
server. Each step can be interrupted and is taken up again at the next start.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

from aircheck.clock import Clock
from aircheck.containers.recover import FileFacts, Outcome, read_note, recover_file
from aircheck.errors import AircheckError
from aircheck.facts import (
    EndReason,
    Event,
    EventKind,
    GapReason,
    RecordingFacts,
    RecordingState,
    SegmentFacts,
    SegmentState,
)
from aircheck.recording import event_facts, finalize
from aircheck.recording.continuation import note_of, with_sums
from aircheck.recording.journal import FinishedFiles, Journal
from aircheck.recording.move import Move
from aircheck.recording.names import recovered_name
from aircheck.recording.naming import NameTemplate
from aircheck.recording.plan import RecordingPlan
from aircheck.segment_note import NoteError, decode_note

_log = logging.getLogger(__name__)


class AwaitedNames:
    """Names of files that are to be made whole. Those that somebody waits for come first."""

    def __init__(self, names: Iterable[str]) -> None:
        self._left = Counter(names)
        self._meant: list[Callable[[str], bool]] = []
        self._changed = asyncio.Event()

    async def until_whole(self, is_meant: Callable[[str], bool]) -> None:
        self._meant.append(is_meant)
        while any(map(is_meant, self._left)):
            await self._changed.wait()

    def is_wanted(self, name: str) -> bool:
        return any(is_meant(name) for is_meant in self._meant)

    def done(self, name: str) -> None:
        """A file of that name is whole, or never will be."""
        self._left[name] -= 1
        self._left = +self._left
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


@dataclass(frozen=True, slots=True)
class Unfinished:
    """What a crash left behind, as found at start."""

    segments: tuple[tuple[RecordingFacts, SegmentFacts], ...]
    recordings: tuple[RecordingFacts, ...]
    names: AwaitedNames

    def __len__(self) -> int:
        return len(self.segments)


@dataclass(slots=True)
class RecoveryReport:
    recovered: int = 0
    empty: int = 0
    missing: int = 0
    failed: int = 0
    cut_bytes: int = 0
    left: list[tuple[RecordingFacts, SegmentFacts]] = field(default_factory=list)
    """What the disk refused: worth another try."""


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
    names = AwaitedNames(facts.file_name for _, facts in segments.values())
    return Unfinished(tuple(segments.values()), tuple(recordings.values()), names)


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
    closed: set[str] = set()
    waiting = list(unfinished.segments)
    for number in count(1):
        if not waiting:
            break
        wanted = (
            place for place, (_, one) in enumerate(waiting) if unfinished.names.is_wanted(one.file_name)
        )
        recording, segment = waiting.pop(next(wanted, 0))
        facts = await recover_segment(recording, segment, journal, plan, report, finished_files)
        if facts.state is SegmentState.COMPLETE and facts.recording_id == recording.id:
            recovered.add(recording.id)
            _log.info(
                "recovered file=%s stream=%s recording=%s number=%d of=%d",
                facts.file_name,
                recording.stream_name,
                recording.id,
                number,
                len(unfinished),
            )
        if all(other.id != recording.id for other, _ in waiting):
            closed.add(recording.id)
            await close_recording(recording, recording.id in recovered, journal, clock)
            for other, one in unfinished.segments:
                if other.id == recording.id:
                    unfinished.names.done(one.file_name)
    for recording in unfinished.recordings:
        if recording.id not in closed:
            await close_recording(recording, False, journal, clock)
    return report


async def recover_segment(
    recording: RecordingFacts,
    segment: SegmentFacts,
    journal: Journal,
    plan: RecordingPlan,
    report: RecoveryReport,
    finished_files: FinishedFiles | None,
) -> SegmentFacts:
    """One file, its row, its event and its hook. The state that is returned tells whether it is complete."""
    growing = Path(segment.path)
    try:
        facts = await _to_the_end(_make_whole, growing, recording, segment, plan, report)
    except Exception as error:  # whatever it is about this file, the others are waiting
        report.failed += 1
        text = f"{type(error).__name__}: {error}"
        _log.error("cannot recover path=%s recording=%s error=%s", growing, recording.id, text)
        facts = replace(segment, error=text)
        if isinstance(error, OSError):
            report.left.append((recording, facts))
    if facts.recording_id != recording.id:
        facts = await _give_back(recording, facts, journal)
        await asyncio.to_thread(_forget, growing, Path(facts.path))
    elif facts.state is SegmentState.COMPLETE:
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


async def _give_back(recording: RecordingFacts, segment: SegmentFacts, journal: Journal) -> SegmentFacts:
    """The file was to be continued, and the crash came first: it is the earlier recording's still."""
    owner = await journal.recording(segment.recording_id)
    if owner is None:
        segment = replace(segment, recording_id=recording.id)
        await journal.put_segment(segment)
        return segment
    await journal.put_segment(segment)
    segments = await journal.segments(owner.id)
    await journal.put_recording(replace(with_sums(owner, segments), error=""))
    return segment


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
        name = _name_of(recording, segment, plan)
        placed = finalize.find_placed(plan.record_dir, name, segment.id)
        if placed is None:
            report.missing += 1
            return replace(segment, state=SegmentState.FAILED, error="the file is gone")
        growing = placed
    is_continued = segment.is_continued
    recovery = recover_file(growing, note=note_of(recording, segment) if is_continued else None)
    if recovery.outcome is Outcome.EMPTY and not is_continued:
        report.empty += 1
        finalize.forget(growing)
        return replace(segment, state=SegmentState.FAILED, error="no media had reached the disk")
    if recovery.facts is None or recovery.outcome is Outcome.FOREIGN:
        report.failed += 1
        return replace(segment, state=SegmentState.FAILED, error="the file is not one of ours")
    report.recovered += 1
    report.cut_bytes += recovery.bytes_cut
    known = _with_file_facts(segment, recovery.facts)
    name = _name_of(recording, known, plan)
    if is_continued:
        path = finalize.place_back(growing, plan.record_dir, name, segment.id).path
        if recovery.outcome is Outcome.FINAL:
            known = _as_noted(known, recovery.facts)
    else:
        path = finalize.place(growing, plan.record_dir, name, on_copied=Move(name).tell).path
    return replace(
        known,
        state=SegmentState.COMPLETE,
        path=str(path),
        file_name=path.relative_to(plan.record_dir).as_posix(),
    )


def _name_of(recording: RecordingFacts, segment: SegmentFacts, plan: RecordingPlan) -> str:
    """A file that was continued has its name and keeps it."""
    if segment.is_continued:
        return segment.file_name
    return recovered_name(recording, segment, _plan_of(recording, plan))


def _as_noted(segment: SegmentFacts, file: FileFacts) -> SegmentFacts:
    """A final file says itself whose it is: perhaps nothing was recorded to it since."""
    with contextlib.suppress(NoteError):
        owner, noted = decode_note(file.note)
        if owner.id != segment.recording_id and noted.id == segment.id:
            return replace(
                segment,
                recording_id=owner.id,
                index=noted.index,
                start_pts_ms=noted.start_pts_ms,
                end_ns=noted.end_ns,
                is_recovered=noted.is_recovered,
                gaps=noted.gaps,
            )
    return segment


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
        end_ns=segment.end_ns or _end_ns(segment, file.duration_ms),
        tracks=file.tracks,
        is_recovered=True,
        error="",
    )


def _end_ns(segment: SegmentFacts, duration_ms: int) -> int:
    """When the last media came in, reckoned from the last time that the file began or went on."""
    begins = [gap for gap in segment.gaps if gap.reason is GapReason.APPEND]
    if not begins:
        return segment.start_ns + duration_ms * 1_000_000
    since_ms = segment.start_pts_ms + duration_ms - begins[-1].start_ms - begins[-1].duration_ms
    return begins[-1].at_ns + max(0, since_ms) * 1_000_000


async def close_recording(
    recording: RecordingFacts, is_recovered: bool, journal: Journal, clock: Clock
) -> None:
    """Its row and its event, once no file of it is left to be made final."""
    segments = await journal.segments(recording.id)
    complete = [facts for facts in segments if facts.state is SegmentState.COMPLETE]
    if any(facts.state in (SegmentState.GROWING, SegmentState.FINALIZING) for facts in segments):
        return  # a file of it could not be recovered now: the next start tries again
    facts = replace(
        with_sums(recording, complete),
        state=RecordingState.COMPLETE if complete else RecordingState.FAILED,
        end_ns=recording.end_ns
        or max((f.end_ns or f.start_ns for f in complete), default=recording.start_ns),
        end_reason=recording.end_reason or EndReason.CRASHED,
        error="" if complete else recording.error,
    )
    await journal.put_recording(facts)
    if is_recovered or not complete:
        await journal.add_event(
            Event(
                kind=EventKind.RECORDING_RECOVERED if is_recovered else EventKind.RECORDING_FAILED,
                at_ns=clock.wall_ns(),
                stream_name=facts.stream_name,
                media_session_id=facts.media_session_id,
                recording_id=facts.id,
                facts=event_facts.of_recording(facts),
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
        facts=event_facts.of_segment(segment),
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
