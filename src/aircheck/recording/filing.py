"""Filing: a segment's way from its first row to its final file.

*growing* row → file opens → media → finish → *finalizing* row → final file under its name → *complete* row →
event. Rows are written in the background.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import defaultdict
from collections.abc import Coroutine
from dataclasses import replace
from functools import partial
from pathlib import Path

from aircheck.clock import Clock
from aircheck.containers.capability import Container, nearest
from aircheck.errors import AircheckError
from aircheck.facts import EventKind, RecordingFacts, SegmentFacts, SegmentState
from aircheck.hub.stream import describe_track
from aircheck.media.track import Track
from aircheck.recording import finalize
from aircheck.recording.continuation import Continuations, note_of
from aircheck.recording.journal import FinishedFiles, Journal
from aircheck.recording.move import Move
from aircheck.recording.names import final_name, preview_name
from aircheck.recording.naming import OnConflict
from aircheck.recording.recording import Recording
from aircheck.recording.reports import ROW_TIMEOUT_S, Reports
from aircheck.recording.segment import FinalizedFile, Segment
from aircheck.recording.writer import open_writer
from aircheck.segment_note import encode_note
from aircheck.tasks import TaskGroup

_log = logging.getLogger(__name__)

SLOW_ROW_S = 3.0
"""A row takes milliseconds, on a machine that has much else to do tenths of a second. With one that is so
late something is wrong; its file grows without it meanwhile."""


class Filing:
    """Opens the segments of recordings and makes them final. `tasks` owns the work in the background."""

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        reports: Reports,
        tasks: TaskGroup,
        finished_files: FinishedFiles | None,
        continuations: Continuations,
    ) -> None:
        self.completed_segments = 0
        self.failed_segments = 0
        self.left_behind: list[tuple[RecordingFacts, SegmentFacts]] = []
        self._journal = journal
        self._clock = clock
        self._reports = reports
        self._tasks = tasks
        self._finished_files = finished_files
        self._continuations = continuations
        self._opening: dict[Segment, asyncio.Task[None]] = {}
        self._closing: defaultdict[str, list[asyncio.Task[None]]] = defaultdict(list)

    def open_segment(
        self, recording: Recording, index: int, tracks: tuple[Track, ...], start_ms: int
    ) -> Segment:
        facts = self._new_segment(recording, index, tracks, start_ms)
        segment = Segment(
            facts, tracks, recording.volume, partial(open_writer, recording), recording.segment_failed
        )
        opening = self._open_when_written(recording, segment)
        self._opening[segment] = self._tasks.spawn(opening, f"open {facts.id}")
        return segment

    def close_segment(self, recording: Recording, segment: Segment, ends: dict[int, int]) -> None:
        closing = self._closing[recording.facts.id]
        finished = segment.finish(ends)
        work = self._complete(recording, segment, finished, closing[-1] if closing else None)
        closing.append(self._tasks.spawn(self._and_release(segment, work), f"complete {segment.facts.id}"))

    async def until_filed(self, recording: Recording) -> None:
        """Wait until every file of a recording that has ended is final, or has failed."""
        await asyncio.gather(*self._closing.pop(recording.facts.id, ()), return_exceptions=True)
        recording.end_gap()
        await self._keep_final_gaps(recording)

    # opening

    def _new_segment(
        self, recording: Recording, index: int, tracks: tuple[Track, ...], start_ms: int
    ) -> SegmentFacts:
        plan, container = recording.plan, self._choose_container(recording, tracks)
        segment_id = secrets.token_hex(8)
        facts = SegmentFacts(
            id=segment_id,
            recording_id=recording.facts.id,
            index=index,
            state=SegmentState.GROWING,
            container=container,
            path=str(plan.growing_dir / f"{segment_id}.{container}"),
            file_name="",
            start_ns=recording.facts.start_ns if index == 1 else self._clock.wall_ns(),
            start_pts_ms=start_ms,
            tracks=tuple(describe_track(track) for track in tracks),
        )
        return replace(facts, file_name=preview_name(recording.facts, facts, plan))

    def _choose_container(self, recording: Recording, tracks: tuple[Track, ...]) -> Container:
        """The one that is wanted if it can hold the tracks, else the nearest that can, said aloud."""
        plan = recording.plan
        codecs_of_tracks = (track.codec for track in tracks)
        container = nearest(Container(plan.container), codecs_of_tracks, plan.preferred)
        if container != recording.facts.container:
            recording.facts = replace(recording.facts, container=container.value)
            if any((track.codec, container) in plan.preferred for track in tracks):
                return container
            codecs = [track.codec.value for track in tracks]
            _log.warning(
                "container changed stream=%s recording=%s wanted=%s container=%s codecs=%s",
                recording.stream.name,
                recording.facts.id,
                recording.plan.container,
                container,
                ",".join(codecs),
            )
            facts: dict[str, object] = {
                "wanted": recording.plan.container,
                "container": container.value,
                "codecs": codecs,
            }
            self._reports.note_soon(EventKind.CONTAINER_CHANGED, recording, facts)
        return container

    async def _open_when_written(self, recording: Recording, segment: Segment) -> None:
        if segment.facts.index == 1 and recording.plan.on_conflict.appends:
            await self._continuations.begin(recording, segment)
        row = self._tasks.spawn(self._write_growing(recording, segment), f"row {segment.facts.id}")
        await asyncio.wait({row}, timeout=ROW_TIMEOUT_S)
        segment.open()
        await asyncio.wait({row}, timeout=SLOW_ROW_S)
        if not row.done():
            _log.warning("catalogue is slow, a file grows without its row segment=%s", segment.facts.id)
            await asyncio.wait({row})
        if self._continuations.of(segment) is None:
            await self._reports.say(EventKind.SEGMENT_CREATED, recording, segment.facts)
        else:
            await self._continuations.tell(recording, segment)

    async def _write_growing(self, recording: Recording, segment: Segment) -> None:
        await self._reports.until_begun(recording.facts.id)
        await self._journal.put_segment(segment.facts)

    # closing

    async def _and_release(self, segment: Segment, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        finally:
            self._continuations.end(segment)

    async def _complete(
        self,
        recording: Recording,
        segment: Segment,
        finished: asyncio.Future[None],
        previous: asyncio.Task[None] | None,
    ) -> None:
        await finished
        await asyncio.wait({self._opening.pop(segment)})  # no later row before the first
        if previous is not None:
            await asyncio.wait({previous})  # names are given in the order of the segments
        recording.gap_log.dropped_packets += segment.lost_packets
        recording.gap_log.dropped_bytes += segment.lost_bytes
        if segment.writer is None or segment.accepted_packets <= segment.lost_packets:
            await self._drop_empty(recording, segment)
            return
        segment.facts = replace(segment.facts, state=SegmentState.FINALIZING)
        facts = segment.current_facts()
        await self._journal.put_segment(facts)
        try:
            facts = await self._make_final(recording, segment, facts)
        except (OSError, AircheckError) as error:
            await self._fail(recording, segment, facts, error)
            return
        self.completed_segments += 1
        _log.info(
            "file complete stream=%s recording=%s file=%s duration_s=%.1f size_mb=%.1f",
            recording.stream.name,
            recording.facts.id,
            facts.file_name,
            facts.duration_ms / 1000,
            facts.size_bytes / 1e6,
        )
        facts = replace(facts, gaps=segment.current_facts().gaps)  # one may have ended meanwhile
        recording.segments.remove(segment)
        recording.completed.append(facts)
        await self._journal.put_segment(facts)
        if self._finished_files is not None:
            await self._finished_files.file_finished(recording.current_facts(), facts)
        # Recovery tells of every file that still has its growing name: told twice is better than never.
        await self._reports.say(EventKind.SEGMENT_COMPLETED, recording, facts)
        if segment.facts.path != facts.path:
            await recording.volume.finalize(partial(finalize.forget, Path(segment.facts.path)))

    async def _make_final(self, recording: Recording, segment: Segment, facts: SegmentFacts) -> SegmentFacts:
        continuation = self._continuations.of(segment)
        own = {Path(earlier.path) for earlier in recording.completed}

        def work() -> tuple[FinalizedFile, finalize.Placement]:
            assert segment.writer is not None
            encode = encode_note if continuation is None else note_of
            segment.writer.set_note(encode(recording.current_facts(), facts))
            finalized = segment.writer.finalize(sync=True)
            known = replace(facts, duration_ms=finalized.duration_ms)
            plan = recording.plan
            if continuation is not None:
                path, name = continuation.file.path, facts.file_name
                return finalized, finalize.place_back(path, plan.record_dir, name, facts.id)
            name = final_name(recording.current_facts(), known, plan)
            # A file of this very recording makes way for no other of it.
            on_conflict = OnConflict.FREE_NUMBER if plan.record_dir / name in own else plan.on_conflict
            segment.move = move = Move(name)
            placement = finalize.place(
                Path(facts.path), plan.record_dir, name, on_conflict, on_copied=move.tell
            )
            return finalized, placement

        finalized, placement = await recording.volume.finalize(work)
        await self._tell_displaced(recording, placement)
        path = placement.path
        return replace(
            facts,
            state=SegmentState.COMPLETE,
            path=str(path),
            file_name=path.relative_to(recording.plan.record_dir).as_posix(),
            size_bytes=finalized.size_bytes,
            duration_ms=finalized.duration_ms,
            tracks=finalized.tracks,
        )

    async def _tell_displaced(self, recording: Recording, placement: finalize.Placement) -> None:
        """An older file of the name was replaced or renamed: its row says so before the new one does."""
        if placement.is_replaced:
            await self._journal.file_replaced(placement.path)
        elif placement.displaced is not None:
            name = placement.displaced.relative_to(recording.plan.record_dir).as_posix()
            await self._journal.file_renamed(placement.path, placement.displaced, name)

    async def _drop_empty(self, recording: Recording, segment: Segment) -> None:
        """Nothing of this segment reached the disk: there is no file to keep, or only an earlier one."""
        recording.hand_on_gaps(segment)
        if self._continuations.of(segment) is not None:
            await self._give_back(recording, segment)
            return
        recording.segments.remove(segment)
        error = f"{type(segment.error).__name__}: {segment.error}" if segment.error else "no media"
        writer = segment.writer
        if writer is not None:
            await recording.volume.finalize(writer.close)
        await recording.volume.finalize(partial(finalize.forget, Path(segment.facts.path)))
        await self._journal.put_segment(replace(segment.facts, state=SegmentState.FAILED, error=error))

    async def _give_back(self, recording: Recording, segment: Segment) -> None:
        try:
            await self._continuations.give_back(recording, segment)
        except (OSError, AircheckError) as error:
            facts = replace(segment.current_facts(), state=SegmentState.FINALIZING)
            await self._fail(recording, segment, facts, error)
            return
        recording.segments.remove(segment)

    async def _fail(
        self, recording: Recording, segment: Segment, facts: SegmentFacts, error: Exception
    ) -> None:
        """The file stays where it grew, row and all: what a disk refused is tried again (`second_tries`), all
        else at the next start."""
        self.failed_segments += 1
        recording.segments.remove(segment)
        text = f"{type(error).__name__}: {error}"
        recording.facts = replace(recording.facts, error=text)
        recording.volume.note_error(error)
        _log.error(
            "finalize failed stream=%s recording=%s path=%s error=%s",
            recording.stream.name,
            recording.facts.id,
            facts.path,
            text,
        )
        await self._journal.put_segment(replace(facts, error=text))
        if isinstance(error, OSError):
            self.left_behind.append((recording.current_facts(), replace(facts, error=text)))
        await self._reports.say(EventKind.RECORDING_FAILED, recording, facts, {"error": text})

    async def _keep_final_gaps(self, recording: Recording) -> None:
        """Holes at the very end belong to the last file, whose row was complete before they were known."""
        if recording.final_gaps and recording.completed:
            last = recording.completed[-1]
            recording.completed[-1] = replace(last, gaps=(*last.gaps, *recording.final_gaps))
            await self._journal.put_segment(recording.completed[-1])
