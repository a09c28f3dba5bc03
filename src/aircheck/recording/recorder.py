"""Recorder: every recording of this node, from request to last row.

What it stands on: `recording.py` turns packets into segments, `filing.py` makes files of these, `reports.py`
writes rows and events, `armed.py` keeps what waits for streams to come.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from aircheck.clock import Clock
from aircheck.errors import ContainerError
from aircheck.facts import (
    EndReason,
    EventKind,
    GapFacts,
    RecordingFacts,
    RecordingState,
    SegmentFacts,
    StreamFacts,
)
from aircheck.hub.stream import Stream
from aircheck.media.packet import Batch
from aircheck.media.track import DATA_TRACK
from aircheck.recording.armed import Armed, ArmedRequests
from aircheck.recording.audio import AudioStage
from aircheck.recording.continuation import Continuations
from aircheck.recording.filing import Filing
from aircheck.recording.journal import FinishedFiles, Journal
from aircheck.recording.plan import RecordingPlan
from aircheck.recording.recording import Recording
from aircheck.recording.reports import ROW_TIMEOUT_S, Reports
from aircheck.recording.rotation import dts_ms, end_ms
from aircheck.recording.volume import Volume, reserve_told
from aircheck.recording.volumes import Volumes
from aircheck.tasks import TaskGroup

_log = logging.getLogger(__name__)

BY_SETTINGS = "settings"
"""Who asked for a recording that every stream gets."""

TICK_S = 0.2

_MAKE_ROOM = "make room on that disk, or lower [record] min_free_bytes"


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
        self.audio = AudioStage(clock)
        self._clock = clock
        self._recordings: dict[str, Recording] = {}
        self._done: dict[str, asyncio.Future[RecordingFacts]] = {}
        self._tasks = TaskGroup("recorder")
        self._volumes = Volumes(durability_interval_s)
        self._reports = Reports(journal, clock, self._tasks)
        self.continuations = Continuations(
            journal,
            self._reports,
            volume_of=self.volume_of,
            running=lambda: iter(self),
            until_done=self.until_done,
        )
        self._filing = Filing(journal, clock, self._reports, self._tasks, finished_files, self.continuations)
        self._armed = ArmedRequests(journal, clock, self._tasks)
        self._ticker: asyncio.TimerHandle | None = None

    def __iter__(self) -> Iterator[Recording]:
        """The recordings that are not complete, oldest first."""
        return iter(list(self._recordings.values()))

    def get(self, recording_id: str) -> Recording | None:
        return self._recordings.get(recording_id)

    @property
    def completed_segments(self) -> int:
        return self._filing.completed_segments

    @property
    def failed_segments(self) -> int:
        return self._filing.failed_segments

    @property
    def left_behind(self) -> list[tuple[RecordingFacts, SegmentFacts]]:
        """Files that a disk refused to make final, and the recordings that they belong to."""
        return self._filing.left_behind

    @left_behind.setter
    def left_behind(self, left: list[tuple[RecordingFacts, SegmentFacts]]) -> None:
        self._filing.left_behind = left

    def volumes(self) -> tuple[Volume, ...]:
        return tuple(self._volumes)

    def volume_of(self, directory: Path) -> Volume:
        """The volume of a folder, made and started when it is first asked for. Raises OSError."""
        return self._volumes.of(directory)

    def start(self) -> None:
        self._ticker = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def record(self, stream: Stream, plan: RecordingPlan, *, requested_by: str) -> Recording:
        """Begin to record a stream.

        Raises OSError when the growing folder cannot be used, DiskReserveError when its disk, or that
        of the finished files, is nearly full.
        """
        volume = self._volume_with_room(plan)
        facts = _new_facts(stream.facts, plan, requested_by, self._clock.wall_ns())
        recording = Recording(
            facts,
            stream,
            plan,
            volume,
            self._clock,
            self.audio,
            open_segment=self._filing.open_segment,
            close_segment=self._filing.close_segment,
            on_gap=self._on_gap,
            on_ended=self._on_ended,
        )
        self._recordings[facts.id] = recording
        self._done[facts.id] = asyncio.get_running_loop().create_future()
        self._reports.begin(facts)
        self.audio.attach(stream, recording, self._past_of(recording))
        _log.info("recording started stream=%s recording=%s by=%s", stream.name, facts.id, requested_by)
        return recording

    def look_for_room(self, plan: RecordingPlan) -> None:
        """Say at once if the disks of this plan are so full that no recording of it can begin."""
        volumes = [self.volume_of(folder) for folder in (plan.growing_dir, plan.record_dir)]
        for volume in dict.fromkeys(volumes):
            volume.reserve_bytes = plan.min_free_bytes
            if volume.refuses_with(volume.free_bytes):
                _log.warning(
                    "no recording can begin dir=%s reason=%s remedy=%s",
                    volume.directory,
                    reserve_told(volume.free_bytes, plan.min_free_bytes),
                    _MAKE_ROOM,
                )

    def _volume_with_room(self, plan: RecordingPlan) -> Volume:
        """Where files grow, if that disk and the one where they are kept have room for one more."""
        volumes = [self.volume_of(folder) for folder in (plan.growing_dir, plan.record_dir)]
        for volume in volumes:
            volume.reserve_bytes = plan.min_free_bytes
            if not volume.has_room_to_begin(plan.min_free_bytes):
                told = reserve_told(volume.free_bytes, plan.min_free_bytes)
                raise DiskReserveError(f"at {volume.directory} {told}", remedy=_MAKE_ROOM)
        for volume in dict.fromkeys(volumes):
            volume.note_begin()
        return volumes[0]

    def _past_of(self, recording: Recording) -> Batch | None:
        """Pre-roll: what the stream still holds of its recent past."""
        plan, stream = recording.plan, recording.stream
        if not plan.pre_roll_ms:
            return None
        past = stream.back_buffer.packets(since_ns=self._clock.wall_ns() - plan.pre_roll_ms * 1_000_000)
        if not past:
            return None
        batch = Batch(
            past,
            stream.last_arrival_ns,
            sum(len(packet.data) for packet in past),
            tracks_changed=True,
            has_video_keyframe=True,
            has_data=DATA_TRACK in stream.tracks,
        )
        lead_ns = (end_ms(batch) - dts_ms(past[0])) * 1_000_000
        recording.facts = replace(recording.facts, start_ns=recording.facts.start_ns - lead_ns)
        return batch

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
        return self._armed.add(name, plan, requested_by=requested_by, app=app, keep_alive=keep_alive)

    def disarm(self, armed: Armed) -> None:
        """Forget a request; recordings that it has begun go on."""
        self._armed.discard(armed)

    def armed(self) -> tuple[Armed, ...]:
        return self._armed.all()

    def welcome(self, stream: Stream) -> tuple[Recording, ...]:
        """A stream was published: go on with what waits for it, begin what was asked for before it came.

        Returns the recordings that go on with it. Raises OSError and DiskReserveError; what was asked for and
        could not begin waits for the stream's next coming.
        """
        continued = [one for one in self if one.is_waiting and _is_same_stream(one, stream)]
        for recording in continued:
            recording.rejoin(stream)
            _log.info("recording goes on stream=%s recording=%s", stream.name, recording.facts.id)
        wishes = [(recording.plan, recording.facts.requested_by) for recording in continued]
        for armed in self.armed():
            if armed.is_for(stream) and (armed.plan, armed.requested_by) not in wishes:
                self.record(stream, armed.plan, requested_by=armed.requested_by)
                self._armed.used(armed)
        return tuple(continued)

    async def until_catalogued(self, recording: Recording) -> None:
        """Wait for a new recording's row, not for ever: a slow catalogue holds nobody up."""
        await self._reports.until_begun(recording.facts.id, ROW_TIMEOUT_S)

    async def split(self, recording: Recording) -> None:
        """Go on in a new file, at the next key frame that comes from now on."""
        await self._take_all(recording)
        recording.split()
        _log.info("split asked for stream=%s recording=%s", recording.stream.name, recording.facts.id)

    async def pause(self, recording: Recording) -> None:
        """Let the stream pass by unrecorded; returns when row and event say so."""
        await self._take_all(recording)
        recording.pause()
        if not recording.is_paused:
            return  # it ended meanwhile
        _log.info("recording paused stream=%s recording=%s", recording.stream.name, recording.facts.id)
        await self._reports.note(EventKind.RECORDING_PAUSED, recording)

    async def resume(self, recording: Recording) -> None:
        """Go on after a pause, at the next key frame; returns when row and event say so."""
        await self._take_all(recording)  # what has come by now passes by as well
        if not recording.is_paused:
            return
        recording.resume()
        _log.info("recording resumed stream=%s recording=%s", recording.stream.name, recording.facts.id)
        await self._reports.note(EventKind.RECORDING_RESUMED, recording)

    async def stop_recording(self, recording: Recording, reason: EndReason) -> RecordingFacts:
        """End a recording and return when its files are final."""
        await self._take_all(recording)
        recording.stop(reason)
        return await self.until_done(recording)

    async def _take_all(self, recording: Recording) -> None:
        """Let a recording have what has come by now."""
        recording.stream.flush()
        await self.audio.catch_up(recording)

    async def until_done(self, recording: Recording) -> RecordingFacts:
        """Wait until a recording has ended and its files are final."""
        done = self._done.get(recording.facts.id)
        return await asyncio.shield(done) if done is not None else recording.facts

    async def stop(self, reason: EndReason) -> None:
        """End every recording, wait for their files and stop the volumes."""
        if self._ticker is not None:
            self._ticker.cancel()
        for recording in self:
            recording.stream.flush()
        await self.audio.drain()
        for recording in self:
            recording.stop(reason)
        await self._tasks.join()
        self.audio.close()
        await self._volumes.stop()

    # what recordings call

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
        self._reports.say_soon(EventKind.GAP, recording, facts)

    def _on_ended(self, recording: Recording) -> None:
        self._tasks.spawn(self._conclude(recording), f"conclude {recording.facts.id}")

    async def _conclude(self, recording: Recording) -> None:
        await self._filing.until_filed(recording)
        facts = replace(recording.current_facts(), state=RecordingState.COMPLETE)
        if not recording.completed:
            reason = facts.end_reason if facts.error else EndReason.NO_MEDIA
            facts = replace(facts, state=RecordingState.FAILED, end_reason=reason)
        recording.facts = facts
        del self._recordings[facts.id]
        await self._reports.end(facts)
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
        self._done.pop(facts.id).set_result(facts)

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


def _is_same_stream(recording: Recording, stream: Stream) -> bool:
    return (recording.facts.app, recording.facts.stream_name) == (stream.facts.app, stream.name)
