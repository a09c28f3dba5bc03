"""Segmenter: which segment each packet of a recording belongs to, and when the next one begins.

Batches go as they are to the current segment. Only a batch that brings a key frame when rotation is due, a
changed track, or comes during a cut is looked at packet by packet. During a cut two segments are open
(`rotation.py`), and each packet goes to exactly one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from aircheck.media.packet import Batch, Packet
from aircheck.media.track import DATA_TRACK, Track
from aircheck.recording.rotation import Cut, RotationRule, dts_ms, next_boundary_ns, pts_ms
from aircheck.recording.segment import Segment

_log = logging.getLogger(__name__)

CUT_TIMEOUT_NS = 5_000_000_000


class OpenSegment(Protocol):
    """Makes the next segment and lets it open in the background. `index` counts from 1."""

    def __call__(self, index: int, tracks: tuple[Track, ...], start_ms: int) -> Segment: ...


CloseSegment = Callable[[Segment, dict[int, int]], None]
"""Takes a segment over to be finished; per track the dts at which its last sample ends, where known."""


class Segmenter:
    """The segments of one recording that take media. Times in ms are media time on the stream's timeline."""

    def __init__(self, rule: RotationRule, open_segment: OpenSegment, close_segment: CloseSegment) -> None:
        self.current: Segment | None = None
        self.tracks: dict[int, Track] = {}
        self.primary_id: int | None = None
        """The video track at whose key frames segments begin; None without video."""
        self.last_ms = 0
        self.skipped_packets = 0
        """Video before the first key frame: nobody could decode it."""
        self._rule = rule
        self._open_segment = open_segment
        self._close_segment = close_segment
        self._old: Segment | None = None
        self._cut: Cut | None = None
        self._awaiting_key: set[int] = set()
        self._next_index = 1
        self._runs: list[tuple[Segment, list[Packet]]] = []
        """Packets sorted to their segments but not handed over yet."""
        self._runs_arrival_ns = 0
        self._boundary_ns: int | None = None
        self._is_split_wanted = False

    # what the recording calls

    def know(self, track: Track) -> None:
        """Segments that begin from now on have this track."""
        self.tracks[track.id] = track
        if track.is_video and (self.primary_id is None or track.id < self.primary_id):
            self.primary_id = track.id

    def forget(self, track: Track) -> None:
        """Nothing more comes of this track: segments that begin from now on go without it."""
        if self.tracks.get(track.id) is track:
            del self.tracks[track.id]
            self._awaiting_key.discard(track.id)
            videos = (one.id for one in self.tracks.values() if one.is_video)
            self.primary_id = min(videos, default=None)

    def begin(self, start_ms: int) -> Segment:
        """Begin the first segment, with the tracks that are known."""
        self.last_ms = start_ms
        self._awaiting_key = {track.id for track in self.tracks.values() if track.is_video}
        return self._begin_segment()

    def begin_again(self, packet: Packet) -> None:
        """Go on after a gap, at this packet: in the same segment if it can take what follows."""
        self.last_ms = pts_ms(packet)
        current = self.current
        if current is not None:
            others = [t for t in self.tracks.values() if current.tracks.get(t.id) is not t]
            if others == [packet.track] and current.can_change(packet):
                self._change_track(current, packet.track)
            elif others:
                self.close_all()
        if self.current is None:
            self._begin_segment()
        self._awaiting_key = {t.id for t in self.tracks.values() if t.is_video and t.id != self.primary_id}

    def take(self, batch: Batch) -> None:
        """Give a batch to the current segment, or to those that its packets belong to."""
        segment = self.current
        assert segment is not None
        if (
            batch.tracks_changed
            or batch.has_data
            or self._cut is not None
            or self._awaiting_key
            or self._may_cut(batch)
        ):
            self.sort(batch)
        else:
            packets = batch.packets
            last = packets[-1]
            segment.end_ms = self.last_ms = last.dts * 1000 // last.track.timescale
            segment.write(packets, batch.size_bytes, batch.arrival_ns)

    def sort(self, batch: Batch) -> None:
        """Give each packet to the segment that it belongs to, in order."""
        self._runs_arrival_ns = batch.arrival_ns
        for packet in batch.packets:
            if packet.track is DATA_TRACK:
                self._take_data(packet)
                continue
            segment = self._segment_of(packet)
            if segment is None:
                continue
            self._run_of(segment).append(packet)
            self.last_ms = dts_ms(packet)
            if self._cut is not None and self._cut.is_over(self.last_ms):
                self.end_cut()
        self._write_runs()

    def _run_of(self, segment: Segment) -> list[Packet]:
        if not self._runs or self._runs[-1][0] is not segment:
            self._runs.append((segment, []))
        return self._runs[-1][1]

    def _take_data(self, packet: Packet) -> None:
        """A data message goes where its time lies. It neither begins a segment nor keeps one open, and only
        files that hold data have a track for it."""
        segment = self.current
        if self._cut is not None and pts_ms(packet) < self._cut.at_ms:
            segment = self._old
        if segment is None:
            return
        if DATA_TRACK.id not in segment.tracks:
            segment.add_track(DATA_TRACK, self._refuse_data)
        self._run_of(segment).append(packet)

    def _refuse_data(self, segment: Segment, track: Track) -> None:
        """The segment counts what it leaves out."""
        _log.warning("file has no room for data messages file=%s track=%d", segment.facts.path, track.id)

    def number_from(self, index: int) -> None:
        """The next segment has this number."""
        self._next_index = index

    def split(self) -> None:
        """Go on in a new segment at the next chance."""
        self._is_split_wanted = True

    def refuse_track(self, segment: Segment, track: Track) -> None:
        """The file cannot take in a late track: a new segment begins with it."""
        if segment is self.current and self._cut is None:
            self._begin_cut(self.last_ms, None)

    def flush(self, now_ns: int) -> None:
        """What waits for more media in a quiet stream goes to disk."""
        if self._old is not None:
            self._old.flush(now_ns)
            if now_ns - self._old.last_packet_ns > CUT_TIMEOUT_NS:
                self.end_cut()
        if self.current is not None:
            self.current.flush(now_ns)

    @property
    def waits_for_keyframe(self) -> bool:
        """Whether a track, or the next segment, begins with the next key frame."""
        if self._awaiting_key:
            return True
        segment, rule = self.current, self._rule
        if segment is None or self.primary_id is None or self._cut is not None or not rule.waits_for_keyframe:
            return False
        if self._is_split_wanted or self._is_past_boundary(segment.last_packet_ns):
            return True
        return rule.is_rotating and rule.is_due(self.last_ms - segment.start_ms, segment.accepted_bytes)

    def is_open(self, segment: Segment) -> bool:
        """Whether a segment still takes media."""
        return segment is self.current or segment is self._old

    def end_cut(self) -> None:
        """The old segment is on disk before a packet that follows it: a crash leaves no hole between them."""
        cut, self._cut = self._cut, None
        old, self._old = self._old, None
        if cut is not None and old is not None:
            runs, self._runs = self._runs, []
            self._runs = [run for run in runs if run[0] is old]
            self._write_runs()
            self._close_segment(old, cut.ends)
            self._runs = [run for run in runs if run[0] is not old]
        self._write_runs()

    def close_all(self) -> None:
        """Media is over, for now or for good."""
        self.end_cut()
        current, self.current = self.current, None
        if current is not None:
            self._close_segment(current, {})

    # which segment

    def _may_cut(self, batch: Batch) -> bool:
        segment = self.current
        assert segment is not None
        rule = self._rule
        if not batch.has_video_keyframe and self.primary_id is not None and rule.waits_for_keyframe:
            return False
        if self._is_split_wanted or self._is_past_boundary(batch.arrival_ns):
            return True
        if not rule.is_rotating:
            return False
        return rule.is_due(dts_ms(batch.packets[-1]) - segment.start_ms, segment.accepted_bytes)

    def _write_runs(self) -> None:
        runs, self._runs = self._runs, []
        for segment, packets in runs:
            media = (packet for packet in reversed(packets) if packet.track is not DATA_TRACK)
            segment.end_ms = next(map(dts_ms, media), segment.end_ms)
            segment.write(packets, sum(len(packet.data) for packet in packets), self._runs_arrival_ns)

    def _segment_of(self, packet: Packet) -> Segment | None:
        track = packet.track
        if track.is_video and track.id in self._awaiting_key:
            if not packet.is_keyframe:
                self.skipped_packets += 1
                return None
            self._awaiting_key.discard(track.id)
        known = self.tracks.get(track.id)
        if known is not track:
            self._take_track(packet, known)
            if track.id in self._awaiting_key:
                self.skipped_packets += 1
                return None
        if self._cut is not None:
            return self._segment_in_cut(packet)
        if self._is_cut_here(packet):
            self._begin_cut(pts_ms(packet), self.primary_id)
            return self._segment_in_cut(packet)
        return self.current

    def _take_track(self, packet: Packet, known: Track | None) -> None:
        """A track that is new or whose configuration changed."""
        track = packet.track
        if track.is_video and not packet.is_keyframe:
            self._awaiting_key.add(track.id)
            if known is not None:
                return  # its key frame decides whether the file goes on
        self.know(track)
        segment = self.current
        if segment is None or segment.tracks.get(track.id) is track:
            return
        if known is None and track.id not in segment.tracks and segment.can_hold(track):
            segment.add_track(track, self.refuse_track)
            return
        if segment.can_change(packet):
            self.end_cut()
            self._change_track(segment, track)
            return
        _log.info(
            "a new file begins: the last one cannot take a track file=%s track=%d codec=%s size=%dx%d",
            segment.facts.path,
            track.id,
            track.codec,
            track.width,
            track.height,
        )
        if self._cut is not None:
            self.end_cut()
        self._begin_cut(pts_ms(packet), self.primary_id)

    def _change_track(self, segment: Segment, track: Track) -> None:
        """The file goes on with another configuration of one of its tracks."""
        _log.info(
            "pictures change within a file file=%s track=%d codec=%s size=%dx%d",
            segment.facts.path,
            track.id,
            track.codec,
            track.width,
            track.height,
        )
        self._write_runs()
        segment.change_track(track, self._refuse_change)

    def _refuse_change(self, segment: Segment, track: Track) -> None:
        """The file has no room for another configuration: a new segment begins, at a key frame of it."""
        self.refuse_track(segment, track)
        if segment is not self.current:
            self._awaiting_key.add(track.id)

    # cuts

    def _is_cut_here(self, packet: Packet) -> bool:
        segment, rule = self.current, self._rule
        if segment is None or not (rule.is_rotating or self._is_split_wanted):
            return False
        primary_id = self.primary_id
        if primary_id is not None and packet.track.id != primary_id:
            return False
        waits = primary_id is not None and rule.waits_for_keyframe
        if waits and not packet.is_keyframe:
            return False
        self._write_runs()  # so that the segment knows all that is before this packet
        if not segment.accepted_packets:
            return False
        if self._is_split_wanted or self._is_past_boundary(self._runs_arrival_ns):
            return True
        duration_ms = pts_ms(packet) - segment.start_ms
        return rule.is_due(duration_ms, segment.accepted_bytes, at_key_frames=waits)

    def _is_past_boundary(self, arrival_ns: int) -> bool:
        return self._boundary_ns is not None and arrival_ns >= self._boundary_ns

    def _begin_segment(self) -> Segment:
        tracks = tuple(self.tracks[track_id] for track_id in sorted(self.tracks))
        segment = self._open_segment(self._next_index, tracks, self.last_ms)
        self._next_index += 1
        self._boundary_ns = next_boundary_ns(self._rule, max(segment.facts.start_ns, self._runs_arrival_ns))
        self.current = segment
        return segment

    def _begin_cut(self, at_ms: int, primary_id: int | None) -> None:
        old = self.current
        assert old is not None
        self._old = old
        self.last_ms = at_ms
        self._begin_segment()
        self._is_split_wanted = False
        followed = {track.id for track in old.tracks.values() if track is not DATA_TRACK}
        self._cut = Cut(at_ms, primary_id, followed, self._rule.waits_for_keyframe)

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
        return self.current
