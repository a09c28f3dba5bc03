"""Recording: a subscriber that turns a stream's packets into segments, from start to stop.

Theory of operation
    settling    The first packets are held until both a video and an audio track have shown themselves, or for
                `settle_s`: files begin with the tracks that the stream has.
    writing     Batches go as they are to the current segment. Only a batch that brings a key frame when
                rotation is due, a changed track, or comes during a cut is looked at packet by packet.
    dropping    The disk is too slow and the queue is full: nothing is accepted until it is half empty and
                a key frame comes. The hole is kept as a gap of reason `slow_disk`.
    blocked     The disk refused (full, broken, gone): the segment ends with what it has, and a new one
                begins at a key frame once the volume has room and `RETRY` has passed. The hole is kept as
                a gap.
    ended       Segments are finished and made final in the background (`finalize.py`); `done` resolves then.

    paused      Media passes by; it goes on in the same file, and media time goes on where it ended.
    waiting     The publisher was lost. One of the same name that comes back within `reconnect_s` goes on with
                the recording; the hole is kept as a gap of reason `reconnect`.
A timestamp in ms here is media time on the stream's own timeline.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from aircheck.clock import Clock
from aircheck.errors import StreamError
from aircheck.facts import EndReason, GapFacts, GapReason, RecordingFacts, RecordingState, SegmentFacts
from aircheck.hub.stream import Stream
from aircheck.media.packet import Batch, Packet
from aircheck.media.track import Kind, Track
from aircheck.recording.gaps import GapLog, reason_of
from aircheck.recording.plan import RecordingPlan
from aircheck.recording.rejoin import SEAM_MS, Seam, find_start
from aircheck.recording.rotation import Cut, dts_ms, next_boundary_ns, pts_ms
from aircheck.recording.segment import Segment
from aircheck.recording.volume import Volume

_log = logging.getLogger(__name__)

RETRY_MIN_S = 1.0
RETRY_MAX_S = 30.0
HELD_MAX_BYTES = 8 * 1024 * 1024
CUT_TIMEOUT_NS = 5_000_000_000
STEADY_MS = 10_000
"""A segment this long after trouble shows that the disk is well again."""

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
        self.skipped_packets = 0
        """Video before the first key frame: nobody could decode it."""
        self._clock = clock
        self._sources = sources
        self._open_segment = open_segment
        self._close_segment = close_segment
        self._on_gap = on_gap
        self._on_ended = on_ended
        self._held: list[Batch] | None = []
        self._joins_midway = stream.counters.packets > 0
        """A stream that runs already: sound from before the first picture would play to a black screen."""
        self._held_bytes = 0
        self._settle_timer: asyncio.TimerHandle | None = None
        self._current: Segment | None = None
        self._old: Segment | None = None
        self._cut: Cut | None = None
        self._tracks: dict[int, Track] = {}
        self._primary_id: int | None = None
        """The video track at whose key frames segments begin; None without video."""
        self._awaiting_key: set[int] = set()
        self._next_index = 1
        self._runs: list[tuple[Segment, list[Packet]]] = []
        """Packets sorted to their segments but not handed over yet."""
        self._runs_arrival_ns = 0
        self._retry_s = RETRY_MIN_S
        self._blocked_until_s = 0.0
        self._last_ms = 0
        self._last_arrival_ns = 0
        self._ends_at_ms: int | None = None
        self._boundary_ns: int | None = None
        self._is_split_wanted = False
        self._is_ended = False
        self._has_break = False
        """After a break: the next packets at which media can go on are to be put on the timeline."""
        self._seam: Seam | None = None
        self._reconnect_timer: asyncio.TimerHandle | None = None

    # what the stream calls

    def deliver(self, batch: Batch) -> None:
        if self._is_ended or self.is_paused:
            return
        if self._has_break or self._seam is not None:
            batch = self._after_break(batch)
            if not batch.packets:
                return
        if self._held is not None:
            self._hold(batch)
            return
        if self._ends_at_ms is not None and dts_ms(batch.packets[-1]) >= self._ends_at_ms:
            self._deliver_last(batch)
            return
        self._last_arrival_ns = batch.arrival_ns
        segment = self._current
        if segment is None or self.gap_log.is_open or self._is_over_queue(segment):
            self._deliver_through_gap(batch)
        elif batch.tracks_changed or self._cut is not None or self._awaiting_key or self._may_cut(batch):
            self._sort(batch)
        else:
            packets = batch.packets
            last = packets[-1]
            segment.end_ms = self._last_ms = last.dts * 1000 // last.track.timescale
            segment.write(packets, batch.size_bytes, batch.arrival_ns)

    def ended(self, reason: EndReason) -> None:
        if reason in _LOST and self.plan.reconnect_s > 0 and not self._is_ended:
            self._wait_for_publisher(reason)
        else:
            self.stop(reason)

    def note_gap(self, gap: GapFacts) -> None:
        """Sound was lost on its way here; the hole has ended. Its times are the stream's."""
        shift_ms = self._seam.shift_ms if self._seam is not None else 0
        gap = replace(gap, start_ms=gap.start_ms + shift_ms)
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
        self._settle()
        self._is_ended = True
        self._sources.detach(self)
        self._close_gap(self._last_ms)
        cut, self._cut = self._cut, None
        if self._old is not None:
            self._close(self._old, cut.ends if cut is not None else {})
        if self._current is not None:
            self._close(self._current, {})
        self._old = self._current = None
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
        return self._held is None

    @property
    def is_waiting(self) -> bool:
        """Whether the publisher was lost and may come back."""
        return self._reconnect_timer is not None

    def pause(self) -> None:
        """Let media pass by until `resume`. Without effect on a recording that is ending."""
        if self.facts.state is RecordingState.RECORDING:
            self._settle()
            self._end_cut()
            self.facts = replace(self.facts, state=RecordingState.PAUSED)

    def resume(self) -> None:
        """Go on in the same file, at the next key frame."""
        if self.is_paused:
            self.facts = replace(self.facts, state=RecordingState.RECORDING)
            self._has_break = self._has_begun

    def split(self) -> None:
        """Go on in a new file, at the next key frame."""
        self._is_split_wanted = True

    def rejoin(self, stream: Stream) -> None:
        """Go on with a publisher that came back."""
        if self._reconnect_timer is None:
            raise StreamError(f"recording {self.facts.id} does not wait for a publisher")
        self._reconnect_timer.cancel()
        self._reconnect_timer = None
        self._has_break = self._has_begun
        self.stream = stream
        self._sources.attach(stream, self)

    def tick(self, now_ns: int) -> None:
        """A few times a second: what waits for more media in a quiet stream goes to disk."""
        current, old = self._current, self._old
        if old is not None:
            old.flush(now_ns)
            if now_ns - old.last_packet_ns > CUT_TIMEOUT_NS:
                self._end_cut()
        if current is None:
            return
        current.flush(now_ns)
        if self.volume.free_bytes < self.plan.min_free_bytes:
            self._leave_disk()
        elif self._retry_s != RETRY_MIN_S and current.duration_ms > STEADY_MS and not self.gap_log.is_open:
            self._retry_s = RETRY_MIN_S

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
        return self._held_bytes + sum(segment.queued_bytes for segment in self.segments)

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
        written_ms = segment.writer.duration_ms if segment.writer is not None else 0
        self._begin_gap(reason_of(error), segment.start_ms + written_ms, segment)
        self._blocked_until_s = self._clock.monotonic_s() + self._retry_s
        self._retry_s = min(RETRY_MAX_S, self._retry_s * 2)
        if segment is self._current or segment is self._old:
            self._close_all()

    def refuse_track(self, segment: Segment, track: Track) -> None:
        """The file cannot take in a late track: a new segment begins with it."""
        if segment is self._current and self._cut is None:
            self._begin_cut(self._last_ms, None)

    # settling

    def _hold(self, batch: Batch) -> None:
        assert self._held is not None
        if self._joins_midway:
            start = find_start(batch, has_video=self.stream.primary_video is not None)
            if start is None:
                self.skipped_packets += len(batch.packets)
                return
            self.skipped_packets += start
            batch = replace(batch, packets=batch.packets[start:])
            self._joins_midway = False
        self._held.append(batch)
        self._held_bytes += batch.size_bytes
        for packet in batch.packets:
            self._know(packet.track)
        kinds = {track.kind for track in self._tracks.values()}
        if kinds >= {Kind.VIDEO, Kind.AUDIO} or self._held_bytes > HELD_MAX_BYTES:
            self._settle()
        elif self._settle_timer is None:
            self._settle_timer = asyncio.get_running_loop().call_later(self.plan.settle_s, self._settle)

    def _settle(self) -> None:
        """Begin the first segment with the tracks that have appeared."""
        if self._settle_timer is not None:
            self._settle_timer.cancel()
            self._settle_timer = None
        held = self._held
        if not held:
            return
        self._held = None
        self._held_bytes = 0
        self._last_ms = min(pts_ms(packet) for batch in held for packet in batch.packets)
        self._awaiting_key = {track.id for track in self._tracks.values() if track.is_video}
        self._begin_segment()
        for batch in held:
            if not self._is_ended:
                self._sort(batch)

    # writing

    def _is_over_queue(self, segment: Segment) -> bool:
        return segment.queued_bytes > self.plan.queue_max_bytes or self.volume.is_overloaded

    def _may_cut(self, batch: Batch) -> bool:
        segment = self._current
        assert segment is not None
        rule = self.plan.rotation
        if not batch.has_video_keyframe and self._primary_id is not None and rule.waits_for_keyframe:
            return False
        if self._is_split_wanted or self._is_past_boundary(batch.arrival_ns):
            return True
        if not rule.is_rotating:
            return False
        return rule.is_due(dts_ms(batch.packets[-1]) - segment.start_ms, segment.accepted_bytes)

    def _sort(self, batch: Batch) -> None:
        """Give each packet to the segment that it belongs to, in order."""
        self._runs_arrival_ns = batch.arrival_ns
        for packet in batch.packets:
            segment = self._segment_of(packet)
            if segment is None:
                continue
            if not self._runs or self._runs[-1][0] is not segment:
                self._runs.append((segment, []))
            self._runs[-1][1].append(packet)
            self._last_ms = dts_ms(packet)
            if self._cut is not None and self._cut.is_over(self._last_ms):
                self._end_cut()
        self._write_runs()

    def _write_runs(self) -> None:
        runs, self._runs = self._runs, []
        for segment, packets in runs:
            segment.end_ms = dts_ms(packets[-1])
            segment.write(packets, sum(len(packet.data) for packet in packets), self._runs_arrival_ns)

    def _segment_of(self, packet: Packet) -> Segment | None:
        track = packet.track
        if track.is_video and track.id in self._awaiting_key:
            if not packet.is_keyframe:
                self.skipped_packets += 1
                return None
            self._awaiting_key.discard(track.id)
        known = self._tracks.get(track.id)
        if known is not track:
            self._take_track(packet, known)
        if self._cut is not None:
            return self._segment_in_cut(packet)
        if self._is_cut_here(packet):
            self._begin_cut(pts_ms(packet), self._primary_id)
            return self._segment_in_cut(packet)
        return self._current

    def _is_cut_here(self, packet: Packet) -> bool:
        segment = self._current
        if segment is None or not segment.accepted_packets:
            return False
        primary_id, rule = self._primary_id, self.plan.rotation
        if primary_id is not None and packet.track.id != primary_id:
            return False
        waits = primary_id is not None and rule.waits_for_keyframe
        if waits and not packet.is_keyframe:
            return False
        if self._is_split_wanted or self._is_past_boundary(self._runs_arrival_ns):
            return True
        duration_ms = pts_ms(packet) - segment.start_ms
        return rule.is_due(duration_ms, segment.accepted_bytes, at_key_frames=waits)

    def _is_past_boundary(self, arrival_ns: int) -> bool:
        return self._boundary_ns is not None and arrival_ns >= self._boundary_ns

    def _know(self, track: Track) -> None:
        self._tracks[track.id] = track
        if track.is_video and (self._primary_id is None or track.id < self._primary_id):
            self._primary_id = track.id

    def _take_track(self, packet: Packet, known: Track | None) -> None:
        """A track that is new or whose configuration changed."""
        track = packet.track
        self._know(track)
        segment = self._current
        if track.is_video and not packet.is_keyframe:
            self._awaiting_key.add(track.id)
        if segment is None or segment.tracks.get(track.id) is track:
            return
        if known is None and track.id not in segment.tracks and segment.can_hold(track):
            segment.add_track(track, self.refuse_track)
            return
        if self._cut is not None:
            self._end_cut()
        self._begin_cut(pts_ms(packet), self._primary_id)

    # cuts

    def _begin_segment(self) -> Segment:
        tracks = tuple(self._tracks[track_id] for track_id in sorted(self._tracks))
        segment = self._open_segment(self, self._next_index, tracks, self._last_ms)
        self._next_index += 1
        self._boundary_ns = next_boundary_ns(
            self.plan.rotation, max(segment.facts.start_ns, self._runs_arrival_ns)
        )
        if self._ends_at_ms is None and self.plan.max_duration_ms is not None:
            self._ends_at_ms = segment.start_ms + self.plan.max_duration_ms
        self.segments.append(segment)
        self._current = segment
        return segment

    def _begin_cut(self, at_ms: int, primary_id: int | None) -> None:
        old = self._current
        assert old is not None
        self._old = old
        self._last_ms = at_ms
        self._begin_segment()
        self._is_split_wanted = False
        self._cut = Cut(at_ms, primary_id, set(old.tracks), self.plan.rotation.waits_for_keyframe)

    def _segment_in_cut(self, packet: Packet) -> Segment | None:
        cut, old = self._cut, self._old
        assert cut is not None
        assert old is not None
        track_id = packet.track.id
        if track_id in cut.waiting:
            old_track = old.tracks.get(track_id)
            if old_track is packet.track and not cut.moves(packet):
                return old
            cut.take(packet, old_track)
        return self._current

    def _end_cut(self) -> None:
        """The old segment is on disk before a packet that follows it: a crash leaves no hole between them."""
        cut, self._cut = self._cut, None
        old, self._old = self._old, None
        if cut is not None and old is not None:
            runs, self._runs = self._runs, []
            self._runs = [run for run in runs if run[0] is old]
            self._write_runs()
            self._close(old, cut.ends)
            self._runs = [run for run in runs if run[0] is not old]
        self._write_runs()

    def _close(self, segment: Segment, ends: dict[int, int]) -> None:
        self._close_segment(self, segment, ends)

    def _close_all(self) -> None:
        self._end_cut()
        current, self._current = self._current, None
        if current is not None:
            self._close(current, {})

    # breaks

    def _wait_for_publisher(self, reason: EndReason) -> None:
        self._settle()
        self._end_cut()
        if self._current is not None:
            self._begin_gap(GapReason.RECONNECT, self._last_ms)
            if self.plan.splits_at_reconnect:
                self._close_all()
        loop = asyncio.get_running_loop()
        self._reconnect_timer = loop.call_later(self.plan.reconnect_s, self.stop, reason)

    def _after_break(self, batch: Batch) -> Batch:
        """The batch on the recording's own timeline; empty until media can go on."""
        if self._has_break:
            start = find_start(batch, has_video=self._primary_id is not None)
            if start is None:
                return replace(batch, packets=[])
            batch = replace(batch, packets=batch.packets[start:], tracks_changed=True)
            self._seam = Seam(self._target_ms(batch) - dts_ms(batch.packets[0]), self._tracks.values())
            self._has_break = False
        assert self._seam is not None
        return self._seam.restamp(batch)

    def _target_ms(self, batch: Batch) -> int:
        """Where media goes on: right behind the last packet, or later by what a lost publisher missed."""
        if self.gap_log.reason is not GapReason.RECONNECT:
            return self._last_ms + SEAM_MS
        missed_ms = (batch.arrival_ns - self._last_arrival_ns) // 1_000_000
        return self._last_ms + max(SEAM_MS, missed_ms)

    def _deliver_last(self, batch: Batch) -> None:
        """Take what lies before the maximum duration, and end."""
        limit_ms = self._ends_at_ms
        assert limit_ms is not None
        kept = [packet for packet in batch.packets if dts_ms(packet) < limit_ms]
        if kept and self._current is not None and not self.gap_log.is_open:
            self._sort(replace(batch, packets=kept))
        self.stop(EndReason.MAX_DURATION)

    def _leave_disk(self) -> None:
        """The disk's reserve is reached: end the file cleanly while there is room to."""
        _log.error("disk reserve reached stream=%s recording=%s", self.stream.name, self.facts.id)
        self.facts = replace(self.facts, error="the disk is nearly full: its reserve is not touched")
        self._begin_gap(GapReason.DISK_FULL, self._last_ms)
        self._blocked_until_s = self._clock.monotonic_s() + self._retry_s
        self._close_all()

    # gaps

    def _deliver_through_gap(self, batch: Batch) -> None:
        """Drop media until the disk can take it again and a key frame comes."""
        if not self.gap_log.is_open:
            self._begin_gap(GapReason.SLOW_DISK, self._last_ms)
        for i, packet in enumerate(batch.packets):
            if self._tracks.get(packet.track.id) is not packet.track:
                self._know(packet.track)
            if self._may_resume(packet):
                self._resume(packet)
                rest = batch.packets[i:]
                self._sort(Batch(rest, batch.arrival_ns, 0))
                return
            self._last_ms = max(self._last_ms, dts_ms(packet))
            self.gap_log.drop(packet)

    def _may_resume(self, packet: Packet) -> bool:
        primary_id = self._primary_id
        if primary_id is not None and not (packet.track.id == primary_id and packet.is_keyframe):
            return False
        if self._current is not None:
            room = self.plan.queue_max_bytes // 2
            return self._current.queued_bytes <= room and not self.volume.is_overloaded
        if self._clock.monotonic_s() < self._blocked_until_s:
            return False
        return self.volume.free_bytes >= self.plan.min_free_bytes

    def _resume(self, packet: Packet) -> None:
        self._last_ms = pts_ms(packet)
        changed = self._current is not None and any(
            self._current.tracks.get(track.id) is not track for track in self._tracks.values()
        )
        if changed:
            self._close_all()
        if self._current is None:
            self._begin_segment()
        self._close_gap(dts_ms(packet))
        self.facts = replace(self.facts, error="")
        primary_id = self._primary_id
        others = (t.id for t in self._tracks.values() if t.is_video and t.id != primary_id)
        self._awaiting_key = set(others)

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
        if self._current is not None:
            self._current.gaps.append(gap)
        elif self.segments:
            self.segments[-1].gaps.append(gap)
        else:
            self.final_gaps.append(gap)
        self._on_gap(self, gap)
