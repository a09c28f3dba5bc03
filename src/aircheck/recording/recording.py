"""Recording: a subscriber that turns a stream's packets into segments, from start to stop.

Theory of operation
    settling    The first packets are held until both a video and an audio track have shown themselves, or for
                `settle_s`: files begin with the tracks that the stream has.
    writing     Batches go to the segments that take media now (`segmenter.py`).
    dropping    The disk is too slow and the queue is full: nothing is accepted until it is half empty and
                a key frame comes. The hole is kept as a gap of reason `slow_disk`.
    blocked     The disk refused (full, broken, gone): the segment ends with what it has, and a new one
                begins at a key frame once the volume has room and some time has passed (`patience.py`).
                The hole is kept as a gap.
    ended       Segments are finished and made final in the background (`finalize.py`); `done` resolves then.

    paused      Media passes by; it goes on in the same file, and media time goes on where it ended.
    waiting     The publisher was lost. One of the same name that comes back within `reconnect_s` goes on with
                the recording; the hole is kept as a gap of reason `reconnect`.
A timestamp in ms here is media time on the stream's own timeline.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from aircheck.clock import Clock
from aircheck.errors import StreamError
from aircheck.facts import EndReason, GapFacts, GapReason, RecordingFacts, RecordingState, SegmentFacts
from aircheck.hub.stream import Stream
from aircheck.media.packet import Batch, Packet
from aircheck.media.track import DATA_TRACK, Track
from aircheck.recording.gaps import GapLog, reason_of
from aircheck.recording.patience import Patience
from aircheck.recording.plan import RecordingPlan
from aircheck.recording.rejoin import Break
from aircheck.recording.rotation import dts_ms, end_ms, pts_ms
from aircheck.recording.segment import Segment
from aircheck.recording.segmenter import Segmenter
from aircheck.recording.settling import Settling
from aircheck.recording.volume import Volume

_log = logging.getLogger(__name__)

_LOST = frozenset((EndReason.DISCONNECTED, EndReason.TIMED_OUT, EndReason.PROTOCOL_ERROR))
"""Ends after which the same publisher may well come back."""

OpenSegment = Callable[["Recording", int, tuple[Track, ...], int], Segment]
CloseSegment = Callable[["Recording", Segment, dict[int, int]], None]


class Sources(Protocol):
    """Streams as a recording wants them: with sound that its container can hold."""

    def attach(self, stream: Stream, recording: Recording) -> None: ...
    def detach(self, recording: Recording) -> None: ...


class Recording:
    """One recording of one stream. Everything happens on the loop; nothing here waits.

    `open_segment` makes the next segment (its number, tracks and start in ms) and lets it open in the
    background; `close_segment` takes one over to be finished and made final; `on_gap` is told of every
    hole when it ends.
    """

    is_live = False

    def __init__(
        self,
        facts: RecordingFacts,
        stream: Stream,
        plan: RecordingPlan,
        volume: Volume,
        clock: Clock,
        sources: Sources,
        *,
        open_segment: OpenSegment,
        close_segment: CloseSegment,
        on_gap: Callable[[Recording, GapFacts], None],
        on_ended: Callable[[Recording], None],
    ) -> None:
        self.facts = facts
        self.stream = stream
        self.plan = plan
        self.volume = volume
        self.segments: list[Segment] = []
        """Segments that are not complete yet."""
        self.completed: list[SegmentFacts] = []
        self.gap_log = GapLog()
        self.final_gaps: list[GapFacts] = []
        """Holes at the very end, when every segment was complete already."""
        self._clock = clock
        self._sources = sources
        self._open_segment = open_segment
        self._close_segment = close_segment
        self._on_gap = on_gap
        self._on_ended = on_ended
        self._settling: Settling | None = Settling(
            stream, plan.settle_s, self._settle, starts_on_keyframe=plan.starts_on_keyframe
        )
        self._skipped_while_settling = 0
        self._segmenter = Segmenter(plan.rotation, self._open_next, self._close)
        self._patience = Patience(clock)
        self._break = Break()
        self._last_arrival_ns = 0
        self._ends_at_ms: int | None = None
        self._is_ended = False
        self._reconnect_timer: asyncio.TimerHandle | None = None

    # what the stream calls

    @property
    def backlog_ratio(self) -> float:
        segment = self._segmenter.current
        if segment is None:
            return 0.0
        return max(segment.queued_bytes / self.plan.queue_max_bytes, self.volume.backlog_ratio)

    def deliver(self, batch: Batch) -> None:
        if self._is_ended or self.is_paused:
            return
        if batch.has_data and not self.plan.keeps_data:
            batch = batch.without_data()
            if not batch.packets:
                return
        if self._break.is_on_record:
            batch = self._after_break(batch)
            if not batch.packets:
                return
        if self._settling is not None:
            self._hold(batch)
            return
        if self._is_past_end(batch):
            self._deliver_last(batch)
            return
        self._last_arrival_ns = batch.arrival_ns
        segment = self._segmenter.current
        if segment is None or self.gap_log.is_open or self._is_over_queue(segment):
            self._deliver_through_gap(batch)
        else:
            self._segmenter.take(batch)

    def ended(self, reason: EndReason) -> None:
        if reason in _LOST and self.plan.reconnect_s > 0 and not self._is_ended:
            self._wait_for_publisher(reason)
        else:
            self.stop(reason)

    def note_gap(self, gap: GapFacts) -> None:
        """Sound was lost on its way here; the hole has ended. Its times are the stream's."""
        gap = replace(gap, start_ms=gap.start_ms + self._break.shift_ms)
        self.gap_log.add(gap)
        self._tell_gap(gap)

    # what its owner calls

    def stop(self, reason: EndReason) -> None:
        """End the recording; its last segments are made final in the background. Idempotent."""
        if self._is_ended:
            return
        if self._reconnect_timer is not None:
            self._reconnect_timer.cancel()
            self.gap_log.forget_open()  # nobody came back: the recording ends where its publisher was lost
        self._settle()  # which may reach the maximum duration, and so the end
        self._end(reason)

    def _end(self, reason: EndReason) -> None:
        if self._is_ended:
            return
        self._is_ended = True
        self._sources.detach(self)
        self.end_gap()
        self._segmenter.close_all()
        self.facts = replace(
            self.facts,
            state=RecordingState.FINALIZING,
            end_ns=self._clock.wall_ns(),
            end_reason=reason,
        )
        self._on_ended(self)

    @property
    def is_paused(self) -> bool:
        return self.facts.state is RecordingState.PAUSED

    @property
    def _has_begun(self) -> bool:
        """Whether there was media: a break before the first packet is none."""
        return self._settling is None

    @property
    def is_waiting(self) -> bool:
        """Whether the publisher was lost and may come back."""
        return self._reconnect_timer is not None

    def pause(self) -> None:
        """Let media pass by until `resume`. Without effect on a recording that is ending."""
        if self.facts.state is RecordingState.RECORDING:
            self._settle()
        if self.facts.state is RecordingState.RECORDING:
            self._segmenter.end_cut()
            self.facts = replace(self.facts, state=RecordingState.PAUSED)

    def resume(self) -> None:
        """Go on in the same file, at the next key frame."""
        if self.is_paused:
            self.facts = replace(self.facts, state=RecordingState.RECORDING)
            self._note_break()

    def split(self) -> None:
        """Go on in a new file, at the next key frame."""
        self._segmenter.split()

    def number_from(self, index: int) -> None:
        """The next segment has this number."""
        self._segmenter.number_from(index)

    def forget_tracks(self, tracks: Iterable[Track]) -> None:
        """Nothing more comes of these: nobody waits for them any longer."""
        for track in tracks:
            self._segmenter.forget(track)

    def rejoin(self, stream: Stream) -> None:
        """Go on with a publisher that came back."""
        if self._reconnect_timer is None:
            raise StreamError(f"recording {self.facts.id} does not wait for a publisher")
        self._reconnect_timer.cancel()
        self._reconnect_timer = None
        self._note_break()
        self.stream = stream
        self._sources.attach(stream, self)

    def tick(self, now_ns: int) -> None:
        """A few times a second: what waits for more media in a quiet stream goes to disk, and a key frame is
        asked for where one is waited for."""
        self._segmenter.flush(now_ns)
        if self._waits_for_keyframe():
            self.stream.request_keyframe()
        current = self._segmenter.current
        if current is None:
            return
        if self.volume.free_bytes < self.plan.min_free_bytes:
            self._leave_disk()
        elif not self.gap_log.is_open:
            self._patience.note_progress(current.duration_ms)

    def current_facts(self) -> RecordingFacts:
        """The facts with the sums over finished and growing segments as they stand now."""
        growing = self.segments
        return replace(
            self.facts,
            segment_count=len(self.completed) + len(growing),
            size_bytes=sum(s.size_bytes for s in self.completed) + sum(s.size_bytes for s in growing),
            duration_ms=sum(s.duration_ms for s in self.completed) + sum(s.duration_ms for s in growing),
            gaps=len(self.gap_log.closed) + self.gap_log.is_open,
            dropped_packets=self.gap_log.dropped_packets + sum(s.lost_packets for s in growing),
        )

    @property
    def queued_bytes(self) -> int:
        held_bytes = self._settling.held_bytes if self._settling is not None else 0
        return held_bytes + sum(segment.queued_bytes for segment in self.segments)

    @property
    def skipped_packets(self) -> int:
        """Media before the first key frame: nobody could decode it."""
        return self._skipped_while_settling + self._segmenter.skipped_packets

    @property
    def is_dropping(self) -> bool:
        """Whether media is being lost at this moment."""
        return self.gap_log.is_open

    @property
    def gaps(self) -> list[GapFacts]:
        return self.gap_log.closed

    def segment_failed(self, segment: Segment, error: Exception) -> None:
        """The disk refused: end this file with what it has and try again later."""
        _log.error(
            "disk refused stream=%s recording=%s segment=%d error=%s",
            self.stream.name,
            self.facts.id,
            segment.facts.index,
            error,
        )
        self.facts = replace(self.facts, error=f"{type(error).__name__}: {error}")
        written_ms = segment.writer.duration_ms if segment.writer is not None else segment.before_ms
        self._begin_gap(reason_of(error), segment.start_ms + written_ms, segment)
        self._patience.note_refusal()
        if self._segmenter.is_open(segment):
            self._segmenter.close_all()

    def end_gap(self) -> None:
        """The disk may refuse what waited for it when the recording has ended: that hole ends with it."""
        self._close_gap(self._segmenter.last_ms)

    def hand_on_gaps(self, segment: Segment) -> None:
        """A segment that leaves no file: its holes are those of the next, or of the last file there is."""
        later = (other for other in self.segments if other.facts.index > segment.facts.index)
        heir = next(later, None)
        gaps = heir.gaps if heir is not None else self.final_gaps
        gaps[:0], segment.gaps = segment.gaps, []

    # settling

    def _hold(self, batch: Batch) -> None:
        assert self._settling is not None
        if self._settling.hold(batch):
            self._settle()

    def _settle(self) -> None:
        """Begin the first segment with the tracks that have appeared."""
        held = self._settling.end() if self._settling is not None else []
        packets = [packet for batch in held for packet in batch.without_data().packets]
        if not packets:
            return
        assert self._settling is not None
        self._skipped_while_settling = self._settling.skipped_packets
        self._settling = None
        for packet in reversed(packets):
            self._segmenter.know(packet.track)  # the first of each: what it changed to comes with its packets
        segment = self._segmenter.begin(min(map(pts_ms, packets)))
        if self.plan.max_duration_ms is not None:
            self._ends_at_ms = segment.start_ms + self.plan.max_duration_ms
        for batch in held:
            if self._is_past_end(batch):
                self._deliver_last(batch)
            elif not self._is_ended:
                self._segmenter.sort(batch)

    # writing

    def _is_over_queue(self, segment: Segment) -> bool:
        return segment.queued_bytes > self.plan.queue_max_bytes or self.volume.is_overloaded

    def _open_next(self, index: int, tracks: tuple[Track, ...], start_ms: int) -> Segment:
        segment = self._open_segment(self, index, tracks, start_ms)
        self.segments.append(segment)
        return segment

    def _close(self, segment: Segment, ends: dict[int, int]) -> None:
        self._close_segment(self, segment, ends)

    def _waits_for_keyframe(self) -> bool:
        """Whether nothing but a key frame is missing to begin, to go on, or to go on in a new file."""
        if self._is_ended or self.is_paused or self.is_waiting:
            return False
        if self._settling is not None:
            return self._settling.waits_for_keyframe
        if self.gap_log.is_open:
            return self._has_room()
        return self._break.is_beginning or self._segmenter.waits_for_keyframe

    # breaks

    def _wait_for_publisher(self, reason: EndReason) -> None:
        self._settle()
        if self.facts.state is RecordingState.FINALIZING:
            return
        self._segmenter.end_cut()
        if self._segmenter.current is not None:
            self._begin_gap(GapReason.RECONNECT, self._segmenter.last_ms)
            if self.plan.splits_at_reconnect:
                self._segmenter.close_all()
        loop = asyncio.get_running_loop()
        self._reconnect_timer = loop.call_later(self.plan.reconnect_s, self.stop, reason)

    def _note_break(self) -> None:
        if self._has_begun:
            self._break.begin()

    def _after_break(self, batch: Batch) -> Batch:
        """The batch on the recording's own timeline; empty until media can go on."""
        segmenter = self._segmenter
        missed_ms = 0
        if self.gap_log.reason is GapReason.RECONNECT:
            missed_ms = (batch.arrival_ns - self._last_arrival_ns) // 1_000_000
        return self._break.restamp(
            batch,
            segmenter.last_ms,
            missed_ms,
            segmenter.tracks,
            has_video=segmenter.primary_id is not None,
        )

    def _is_past_end(self, batch: Batch) -> bool:
        return self._ends_at_ms is not None and end_ms(batch) >= self._ends_at_ms

    def _deliver_last(self, batch: Batch) -> None:
        """Take what lies before the maximum duration, and end."""
        limit_ms = self._ends_at_ms
        if limit_ms is None or self._is_ended:
            return
        kept = [packet for packet in batch.packets if dts_ms(packet) < limit_ms]
        if kept and self._segmenter.current is not None and not self.gap_log.is_open:
            self._segmenter.sort(replace(batch, packets=kept))
        self.stop(EndReason.MAX_DURATION)

    def _leave_disk(self) -> None:
        """The disk's reserve is reached: end the file cleanly while there is room to."""
        _log.error("disk reserve reached stream=%s recording=%s", self.stream.name, self.facts.id)
        self.facts = replace(self.facts, error="the disk is nearly full: its reserve is not touched")
        self._begin_gap(GapReason.DISK_FULL, self._segmenter.last_ms)
        self._patience.note_full()
        self._segmenter.close_all()

    # gaps

    def _deliver_through_gap(self, batch: Batch) -> None:
        """Drop media until the disk can take it again and a key frame comes."""
        segmenter = self._segmenter
        if not self.gap_log.is_open:
            self._begin_gap(GapReason.SLOW_DISK, segmenter.last_ms)
        for i, packet in enumerate(batch.packets):
            if packet.track is DATA_TRACK:
                self.gap_log.drop(packet)
                continue
            if segmenter.tracks.get(packet.track.id) is not packet.track:
                segmenter.know(packet.track)
            if self._may_resume(packet):
                self._know_changes(batch.packets[i:])
                self._resume(packet)
                segmenter.sort(Batch(batch.packets[i:], batch.arrival_ns, 0))
                return
            segmenter.last_ms = max(segmenter.last_ms, dts_ms(packet))
            self.gap_log.drop(packet)

    def _know_changes(self, packets: Sequence[Packet]) -> None:
        """Tracks that are others than before the gap are so in the file that begins, not only in a third."""
        tracks = self._segmenter.tracks
        for packet in reversed(packets):
            track = packet.track
            if track.id in tracks and tracks[track.id] is not track:
                self._segmenter.know(track)

    def _may_resume(self, packet: Packet) -> bool:
        primary_id = self._segmenter.primary_id
        if primary_id is not None and not (packet.track.id == primary_id and packet.is_keyframe):
            return False
        return self._has_room()

    def _has_room(self) -> bool:
        """Whether the disk can take media again."""
        current = self._segmenter.current
        if current is not None:
            room = self.plan.queue_max_bytes // 2
            return current.queued_bytes <= room and not self.volume.is_overloaded
        return self._patience.is_over and self.volume.has_room_to_begin(self.plan.min_free_bytes)

    def _resume(self, packet: Packet) -> None:
        if self._segmenter.current is None:
            self.volume.note_begin()
        self._segmenter.begin_again(packet)
        self._close_gap(dts_ms(packet))
        self.facts = replace(self.facts, error="")

    def _begin_gap(self, reason: GapReason, start_ms: int, refused: Segment | None = None) -> None:
        if self.gap_log.begin(reason, start_ms, self._clock.wall_ns(), refused):
            _log.warning(
                "gap begins stream=%s recording=%s reason=%s at_ms=%d",
                self.stream.name,
                self.facts.id,
                reason,
                start_ms,
            )

    def _close_gap(self, end_ms: int) -> None:
        gap = self.gap_log.close(end_ms)
        if gap is not None:
            self._tell_gap(gap)

    def _tell_gap(self, gap: GapFacts) -> None:
        if self._segmenter.current is not None:
            self._segmenter.current.gaps.append(gap)
        elif self.segments:
            self.segments[-1].gaps.append(gap)
        else:
            self.final_gaps.append(gap)
        self._on_gap(self, gap)
