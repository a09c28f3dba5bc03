"""Recorder: every recording of this node, its rows and its events.

The loop's side of a segment's life: *growing* row → file opens → media → finish → *finalizing* row →
final file under its name → *complete* row → event. Rows are written in the background; media waits in
memory for the first of them, never for ever (`ROW_TIMEOUT_S`), because a catalogue in trouble must not
cost a recording.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from aircheck.clock import Clock
from aircheck.containers.capability import Container, nearest
from aircheck.errors import AircheckError, ContainerError
from aircheck.facts import (
    EndReason,
    Event,
    EventKind,
    GapFacts,
    RecordingFacts,
    RecordingState,
    SegmentFacts,
    SegmentState,
    StreamFacts,
)
from aircheck.hub.stream import Stream, describe_track
from aircheck.media.packet import Batch
from aircheck.media.track import Track
from aircheck.recording import finalize
from aircheck.recording.audio import AudioStage
from aircheck.recording.journal import FinishedFiles, Journal
from aircheck.recording.names import final_name, preview_name
from aircheck.recording.plan import RecordingPlan
from aircheck.recording.recording import Recording
from aircheck.recording.rotation import dts_ms
from aircheck.recording.segment import FinalizedFile, Segment
from aircheck.recording.volume import Volume
from aircheck.recording.writer import open_writer
from aircheck.segment_note import encode_note
from aircheck.tasks import TaskGroup

_log = logging.getLogger(__name__)

BY_SETTINGS = "settings"
"""Who asked for a recording that every stream gets."""

ROW_TIMEOUT_S = 0.3
"""Media waits for its row so long, in memory: a part of the second that a crash may cost."""

TICK_S = 0.2


@dataclass(slots=True)
class Armed:
    """A recording that was asked for before its stream exists. `app` None: of any application."""

    id: str
    name: str
    app: str | None
    plan: RecordingPlan
    requested_by: str
    armed_ns: int
    keep_alive: bool = False


class DiskReserveError(ContainerError):
    """The disk is so full that no recording is begun."""


class Recorder:
    """Starts recordings, keeps those that run, and sees their files through to the end."""

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        *,
        durability_interval_s: float = 0.5,
        finished_files: FinishedFiles | None = None,
    ) -> None:
        self.completed_segments = 0
        self.failed_segments = 0
        self.audio = AudioStage(clock)
        self._journal = journal
        self._clock = clock
        self._finished_files = finished_files
        self._durability_interval_s = durability_interval_s
        self._recordings: dict[str, Recording] = {}
        self._done: dict[str, asyncio.Future[RecordingFacts]] = {}
        self._rows: dict[str, asyncio.Task[None]] = {}
        self._opening: dict[str, asyncio.Task[None]] = {}
        self._closing: dict[str, list[asyncio.Task[None]]] = {}
        self._armed: dict[str, Armed] = {}
        self._volumes: dict[int, Volume] = {}
        self._volumes_by_folder: dict[Path, Volume] = {}
        self._tasks = TaskGroup("recorder")
        self._ticker: asyncio.TimerHandle | None = None

    def __iter__(self) -> Iterator[Recording]:
        """The recordings that are not complete, oldest first."""
        return iter(list(self._recordings.values()))

    def get(self, recording_id: str) -> Recording | None:
        return self._recordings.get(recording_id)

    def volumes(self) -> tuple[Volume, ...]:
        return tuple(self._volumes.values())

    def volume_of(self, directory: Path) -> Volume:
        """The volume of a folder, made and started when it is first asked for. Raises OSError.

        Only then is the disk touched: one that stands still would hold up the loop.
        """
        if (known := self._volumes_by_folder.get(directory)) is not None:
            return known
        directory.mkdir(parents=True, exist_ok=True)
        device = directory.stat().st_dev
        volume = self._volumes.get(device)
        if volume is None:
            volume = Volume(directory, durability_interval_s=self._durability_interval_s)
            volume.start()
            self._volumes[device] = volume
        self._volumes_by_folder[directory] = volume
        return volume

    def start(self) -> None:
        self._ticker = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def record(self, stream: Stream, plan: RecordingPlan, *, requested_by: str) -> Recording:
        """Begin to record a stream.

        Raises OSError when the growing folder cannot be used, DiskReserveError when its disk is nearly full.
        """
        volume = self.volume_of(plan.growing_dir)
        volume.reserve_bytes = plan.min_free_bytes
        if volume.free_bytes < plan.min_free_bytes:
            raise DiskReserveError(
                f"{volume.free_bytes // 1_000_000} MB are free at {volume.directory}, and"
                f" {plan.min_free_bytes // 1_000_000} MB are kept in reserve",
                remedy="make room on that disk, or lower [record] min_free_bytes",
            )
        facts = _new_facts(stream.facts, plan, requested_by, self._clock.wall_ns())
        recording = Recording(
            facts,
            stream,
            plan,
            volume,
            self._clock,
            self.audio,
            open_segment=self._open_segment,
            close_segment=self._close_segment,
            on_gap=self._on_gap,
            on_ended=self._on_ended,
        )
        self._recordings[facts.id] = recording
        self._done[facts.id] = asyncio.get_running_loop().create_future()
        self._closing[facts.id] = []
        self._rows[facts.id] = self._tasks.spawn(self._write_start(facts), f"row {facts.id}")
        self.audio.attach(stream, recording, self._past_of(recording))
        _log.info("recording started stream=%s recording=%s by=%s", stream.name, facts.id, requested_by)
        return recording

    def _past_of(self, recording: Recording) -> Batch | None:
        """Pre-roll: what the stream still holds of its recent past."""
        plan, stream = recording.plan, recording.stream
        if not plan.pre_roll_ms:
            return None
        past = stream.back_buffer.packets(since_ns=self._clock.wall_ns() - plan.pre_roll_ms * 1_000_000)
        if not past:
            return None
        lead_ns = (dts_ms(past[-1]) - dts_ms(past[0])) * 1_000_000
        recording.facts = replace(recording.facts, start_ns=recording.facts.start_ns - lead_ns)
        size_bytes = sum(len(packet.data) for packet in past)
        return Batch(past, stream.last_arrival_ns, size_bytes, tracks_changed=True, has_video_keyframe=True)

    def arm(
        self,
        name: str,
        plan: RecordingPlan,
        *,
        requested_by: str,
        app: str | None = None,
        keep_alive: bool = False,
    ) -> Armed:
        """Record a stream as soon as it comes, and each time it comes again if `keep_alive` stays set."""
        now_ns = self._clock.wall_ns()
        armed = Armed(secrets.token_hex(8), name, app, plan, requested_by, now_ns, keep_alive)
        self._armed[armed.id] = armed
        self._tasks.spawn(
            self._journal.add_event(_armed_event(EventKind.RECORDING_ARMED, armed, now_ns)), "armed"
        )
        return armed

    def disarm(self, armed: Armed) -> None:
        """Forget a request; recordings that it has begun go on."""
        if self._armed.pop(armed.id, None) is not None:
            event = _armed_event(EventKind.RECORDING_DISARMED, armed, self._clock.wall_ns())
            self._tasks.spawn(self._journal.add_event(event), "disarmed")

    def armed(self) -> tuple[Armed, ...]:
        return tuple(self._armed.values())

    def welcome(self, stream: Stream) -> bool:
        """A stream was published: go on with what waits for it, begin what was asked for before it came.

        Returns whether a recording goes on with it that was begun by the settings. Raises OSError and
        DiskReserveError; what was asked for and could not begin waits for the stream's next coming.
        """
        continued = [one for one in self if one.is_waiting and _is_same_stream(one, stream)]
        for recording in continued:
            recording.rejoin(stream)
            _log.info("recording goes on stream=%s recording=%s", stream.name, recording.facts.id)
        wishes = [(recording.plan, recording.facts.requested_by) for recording in continued]
        for armed in self.armed():
            is_meant = armed.name == stream.name and armed.app in (None, stream.facts.app)
            if is_meant and (armed.plan, armed.requested_by) not in wishes:
                self.record(stream, armed.plan, requested_by=armed.requested_by)
                if not armed.keep_alive:
                    del self._armed[armed.id]
        return any(requested_by == BY_SETTINGS for _, requested_by in wishes)

    async def until_catalogued(self, recording: Recording) -> None:
        """Wait for a new recording's row, not for ever: a slow catalogue holds nobody up."""
        row = self._rows.get(recording.facts.id)
        if row is not None:
            await asyncio.wait({row}, timeout=ROW_TIMEOUT_S)

    async def pause(self, recording: Recording) -> None:
        """Let the stream pass by unrecorded; returns when row and event say so."""
        recording.pause()
        _log.info("recording paused stream=%s recording=%s", recording.stream.name, recording.facts.id)
        await self._note(EventKind.RECORDING_PAUSED, recording)

    async def resume(self, recording: Recording) -> None:
        """Go on after a pause, at the next key frame; returns when row and event say so."""
        recording.resume()
        _log.info("recording resumed stream=%s recording=%s", recording.stream.name, recording.facts.id)
        await self._note(EventKind.RECORDING_RESUMED, recording)

    async def stop_recording(self, recording: Recording, reason: EndReason) -> RecordingFacts:
        """End a recording and return when its files are final."""
        await self.audio.catch_up(recording)
        recording.stop(reason)
        done = self._done.get(recording.facts.id)
        return await asyncio.shield(done) if done is not None else recording.facts

    async def stop(self, reason: EndReason) -> None:
        """End every recording, wait for their files and stop the volumes."""
        if self._ticker is not None:
            self._ticker.cancel()
        await self.audio.drain()
        for recording in self:
            recording.stop(reason)
        await self._tasks.join()
        self.audio.close()
        for volume in self._volumes.values():
            await volume.stop()

    # what recordings call

    def _open_segment(
        self, recording: Recording, index: int, tracks: tuple[Track, ...], start_ms: int
    ) -> Segment:
        facts = self._new_segment(recording, index, tracks, start_ms)
        segment = Segment(
            facts, tracks, recording.volume, partial(open_writer, recording), recording.segment_failed
        )
        opening = self._open_when_written(recording, segment)
        self._opening[facts.id] = self._tasks.spawn(opening, f"open {facts.id}")
        return segment

    def _close_segment(self, recording: Recording, segment: Segment, ends: dict[int, int]) -> None:
        closing = self._closing[recording.facts.id]
        finished = segment.finish(ends)
        work = self._complete(recording, segment, finished, closing[-1] if closing else None)
        closing.append(self._tasks.spawn(work, f"complete {segment.facts.id}"))

    def _on_gap(self, recording: Recording, gap: GapFacts) -> None:
        _log.warning(
            "gap stream=%s recording=%s reason=%s start_ms=%d duration_ms=%d dropped=%d",
            recording.stream.name,
            recording.facts.id,
            gap.reason,
            gap.start_ms,
            gap.duration_ms,
            gap.dropped_packets,
        )
        facts: dict[str, object] = {
            "reason": gap.reason.value,
            "start_ms": gap.start_ms,
            "duration_ms": gap.duration_ms,
            "dropped_packets": gap.dropped_packets,
            "dropped_bytes": gap.dropped_bytes,
        }
        self._tasks.spawn(self._say(EventKind.GAP, recording, facts=facts), "gap")

    def _on_ended(self, recording: Recording) -> None:
        self._tasks.spawn(self._conclude(recording), f"conclude {recording.facts.id}")

    # rows and events

    async def _write_start(self, facts: RecordingFacts) -> None:
        await self._journal.put_recording(facts)
        await self._journal.add_event(_event(EventKind.RECORDING_STARTED, facts, self._clock.wall_ns()))

    async def _note(
        self, kind: EventKind, recording: Recording, facts: dict[str, object] | None = None
    ) -> None:
        """Keep a change of a running recording: its row as it is by then, and the event."""
        started = self._rows.get(recording.facts.id)
        if started is not None:
            await asyncio.shield(started)
        await self._journal.put_recording(recording.current_facts())
        await self._say(kind, recording, facts=facts)

    async def _open_when_written(self, recording: Recording, segment: Segment) -> None:
        row = self._tasks.spawn(self._write_growing(recording, segment), f"row {segment.facts.id}")
        await asyncio.wait({row}, timeout=ROW_TIMEOUT_S)
        if not row.done():
            _log.error("catalogue is slow, the file is there before its row segment=%s", segment.facts.id)
        segment.open()
        await asyncio.wait({row})
        await self._say(EventKind.SEGMENT_CREATED, recording, segment.facts)

    async def _write_growing(self, recording: Recording, segment: Segment) -> None:
        await asyncio.shield(self._rows[recording.facts.id])
        await self._journal.put_segment(segment.facts)

    async def _complete(
        self,
        recording: Recording,
        segment: Segment,
        finished: asyncio.Future[None],
        previous: asyncio.Task[None] | None,
    ) -> None:
        await finished
        await asyncio.wait({self._opening.pop(segment.facts.id)})  # no later row before the first
        if previous is not None:
            await asyncio.wait({previous})  # names are given in the order of the segments
        recording.gap_log.dropped_packets += segment.lost_packets
        recording.gap_log.dropped_bytes += segment.lost_bytes
        if segment.writer is None or segment.accepted_packets <= segment.lost_packets:
            await self._drop_empty(recording, segment)
            return
        facts = replace(segment.current_facts(), state=SegmentState.FINALIZING)
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
        recording.segments.remove(segment)
        recording.completed.append(facts)
        await self._journal.put_segment(facts)
        if self._finished_files is not None:
            await self._finished_files.file_finished(recording.current_facts(), facts)
        # Recovery tells of every file that still has its growing name: told twice is better than never.
        await self._say(EventKind.SEGMENT_COMPLETED, recording, facts)
        await recording.volume.finalize(partial(finalize.forget, Path(segment.facts.path)))

    async def _make_final(self, recording: Recording, segment: Segment, facts: SegmentFacts) -> SegmentFacts:
        def work() -> tuple[FinalizedFile, finalize.Placement]:
            assert segment.writer is not None
            segment.writer.set_note(encode_note(recording.current_facts(), facts))
            finalized = segment.writer.finalize(sync=True)
            known = replace(facts, duration_ms=finalized.duration_ms)
            plan = recording.plan
            name = final_name(recording.current_facts(), known, plan)
            return finalized, finalize.place(Path(facts.path), plan.record_dir, name, plan.on_conflict)

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
        """Nothing of this segment reached the disk: there is no file to keep."""
        recording.segments.remove(segment)
        error = f"{type(segment.error).__name__}: {segment.error}" if segment.error else "no media"
        writer = segment.writer
        if writer is not None:
            await recording.volume.finalize(writer.close)
        await recording.volume.finalize(partial(finalize.forget, Path(segment.facts.path)))
        await self._journal.put_segment(replace(segment.facts, state=SegmentState.FAILED, error=error))

    async def _fail(
        self, recording: Recording, segment: Segment, facts: SegmentFacts, error: Exception
    ) -> None:
        """The file stays where it grew, row and all: the next start makes it final."""
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
        await self._say(EventKind.RECORDING_FAILED, recording, facts, {"error": text})

    async def _conclude(self, recording: Recording) -> None:
        recording_id = recording.facts.id
        await asyncio.gather(*self._closing.pop(recording_id), return_exceptions=True)
        await asyncio.shield(self._rows.pop(recording_id))
        await self._keep_final_gaps(recording)
        facts = replace(recording.current_facts(), state=RecordingState.COMPLETE)
        if not recording.completed:
            reason = facts.end_reason if facts.error else EndReason.NO_MEDIA
            facts = replace(facts, state=RecordingState.FAILED, end_reason=reason)
        recording.facts = facts
        del self._recordings[recording_id]
        await self._journal.put_recording(facts)
        kind = (
            EventKind.RECORDING_COMPLETED
            if facts.state is RecordingState.COMPLETE
            else EventKind.RECORDING_FAILED
        )
        await self._journal.add_event(_event(kind, facts, self._clock.wall_ns()))
        _log.info(
            "recording ended state=%s stream=%s recording=%s reason=%s"
            " segments=%d duration_s=%.1f size_mb=%.1f gaps=%d file=%s",
            facts.state,
            facts.stream_name,
            facts.id,
            facts.end_reason,
            facts.segment_count,
            facts.duration_ms / 1000,
            facts.size_bytes / 1e6,
            facts.gaps,
            recording.completed[-1].file_name if recording.completed else "",
        )
        self._done.pop(recording_id).set_result(facts)

    async def _keep_final_gaps(self, recording: Recording) -> None:
        """Holes at the very end belong to the last file, whose row was complete before they were known."""
        if recording.final_gaps and recording.completed:
            last = recording.completed[-1]
            recording.completed[-1] = replace(last, gaps=(*last.gaps, *recording.final_gaps))
            await self._journal.put_segment(recording.completed[-1])

    async def _say(
        self,
        kind: EventKind,
        recording: Recording,
        segment: SegmentFacts | None = None,
        facts: dict[str, object] | None = None,
    ) -> None:
        event = _event(kind, recording.facts, self._clock.wall_ns())
        if segment is not None:
            known = {"index": segment.index, "file_name": segment.file_name, "path": segment.path}
            if kind is EventKind.SEGMENT_COMPLETED:
                known |= {"size_bytes": segment.size_bytes, "duration_ms": segment.duration_ms}
            event = replace(event, segment_id=segment.id, facts=known | (facts or {}))
        elif facts is not None:
            event = replace(event, facts=facts)
        await self._journal.add_event(event)

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
        container = nearest(Container(recording.plan.container), (track.codec for track in tracks))
        if container != recording.facts.container:
            recording.facts = replace(recording.facts, container=container.value)
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
            self._tasks.spawn(self._note(EventKind.CONTAINER_CHANGED, recording, facts), "container")
        return container

    def _tick(self) -> None:
        now_ns = self._clock.wall_ns()
        for recording in self:
            recording.tick(now_ns)
        self._ticker = asyncio.get_running_loop().call_later(TICK_S, self._tick)


def _new_facts(stream: StreamFacts, plan: RecordingPlan, requested_by: str, now_ns: int) -> RecordingFacts:
    return RecordingFacts(
        id=str(uuid.uuid4()),
        stream_name=stream.name,
        app=stream.app,
        media_session_id=stream.id,
        session_id=stream.session_id,
        login=stream.login,
        requested_by=requested_by,
        container=plan.container,
        name_template=plan.template.text,
        state=RecordingState.RECORDING,
        start_ns=now_ns,
    )


def _armed_event(kind: EventKind, armed: Armed, at_ns: int) -> Event:
    facts: dict[str, object] = {"armed_id": armed.id, "requested_by": armed.requested_by}
    if armed.app is not None:
        facts["app"] = armed.app
    return Event(kind, at_ns, stream_name=armed.name, facts=facts | {"keep_alive": armed.keep_alive})


def _is_same_stream(recording: Recording, stream: Stream) -> bool:
    return (recording.facts.app, recording.facts.stream_name) == (stream.facts.app, stream.name)


def _event(kind: EventKind, recording: RecordingFacts, at_ns: int) -> Event:
    facts: dict[str, object] = {"requested_by": recording.requested_by}
    if recording.end_reason is not None:
        facts |= {
            "end_reason": recording.end_reason.value,
            "segments": recording.segment_count,
            "size_bytes": recording.size_bytes,
            "duration_ms": recording.duration_ms,
            "gaps": recording.gaps,
        }
    return Event(
        kind=kind,
        at_ns=at_ns,
        stream_name=recording.stream_name,
        media_session_id=recording.media_session_id,
        recording_id=recording.id,
        facts=facts,
    )
