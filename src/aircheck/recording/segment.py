"""Segment: one file of a recording while it grows, and the jobs that its volume does for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from aircheck.containers.capability import Container, can_change, can_hold
from aircheck.containers.mp4 import CHANGES_BYTES
from aircheck.facts import GapFacts, SegmentFacts, TrackFacts
from aircheck.media.in_band import carries_configuration
from aircheck.media.packet import Packet
from aircheck.media.track import Track
from aircheck.recording.move import Move
from aircheck.recording.volume import Job, Volume

GATHER_MS = 250
"""Media of one write, at least: what one read of the pump's usual 400 ms brings is enough, smaller reads wait
for the next. Together, 650 ms, the two bound what `kill -9` can cost. What comes by WebRTC does not wait
in the pump, but where its sound is transcoded for `conversion.INTERVAL_S` (300 ms) before it comes here."""

GATHER_MAX_BYTES = 1024 * 1024

FLUSH_NS = 300_000_000
"""How long media of a stream that has gone quiet may wait here for more of it."""

WRITER_FLUSH_NS = 600_000_000
"""The same for what a container's writer holds back: more than the time from one read to the next."""


class FinalizedFile(Protocol):
    """What a container says of a file that it made final."""

    @property
    def how(self) -> str: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def duration_ms(self) -> int: ...
    @property
    def tracks(self) -> tuple[TrackFacts, ...]: ...


class SegmentWriter(Protocol):
    """A container's writer. All calls come from the volume's threads, one at a time.

    `write` raises OSError when the disk fails; what was whole before stays whole, and the writer can still be
    finished and finalized.
    """

    @property
    def size_bytes(self) -> int: ...
    @property
    def duration_ms(self) -> int: ...
    def write(self, packets: Sequence[Packet]) -> None: ...
    def flush(self) -> None: ...
    def add_track(self, track: Track) -> bool: ...
    def change_track(self, track: Track) -> bool: ...
    def track_facts(self) -> tuple[TrackFacts, ...]: ...
    def finish(self, ends: Mapping[int, int] | None = None) -> None: ...
    def set_note(self, note: bytes) -> None: ...
    def finalize(self, *, sync: bool = True) -> FinalizedFile: ...
    def close(self) -> None: ...


_CHANGE_BYTES = 128
"""What a changed track takes in the head of a file, beside its configuration."""

WriterFactory = Callable[[Path, Sequence[Track], SegmentFacts], SegmentWriter]
"""Creates the file exclusively; raises OSError and leaves nothing behind when it cannot."""


class Segment:
    """One growing file. Methods are called on the loop; the volume's writer thread does the work in order.

    `on_failed` is called on the loop, once, when the disk refuses: nothing more is written to this file then.
    """

    def __init__(
        self,
        facts: SegmentFacts,
        tracks: Sequence[Track],
        volume: Volume,
        create_writer: WriterFactory,
        on_failed: Callable[[Segment, Exception], None],
    ) -> None:
        self.facts = facts
        self.first_tracks = tuple(tracks)
        """Those that the file is opened with, however late that may be; others are added to it."""
        self.tracks = {track.id: track for track in tracks}
        self.writer: SegmentWriter | None = None
        self.error: Exception | None = None
        self.gaps: list[GapFacts] = []
        self.move: Move | None = None
        """Once it is being made final."""
        self.start_ms = facts.start_pts_ms
        self.end_ms = facts.start_pts_ms
        self.last_packet_ns = facts.start_ns
        self.accepted_packets = 0
        self.accepted_bytes = 0
        self.lost_packets = 0
        """Packets that the disk refused; counted on the writer thread."""
        self.lost_bytes = 0
        self.done_bytes = 0
        self.is_broken = False
        """Set on the writer thread at the first refusal: jobs behind it only count their loss."""
        self.refused_tracks: set[int] = set()
        """Tracks that the file could not take in; the writer thread leaves their packets out and counts
        them."""
        self._described = set(self.first_tracks)
        """All tracks and configurations of them that the file knows."""
        self._room_for_changes = CHANGES_BYTES
        self._volume = volume
        self._create_writer = create_writer
        self._on_failed = on_failed
        self.before_ms = 0
        """Where in its file this segment begins: one that goes on in a file that exists."""
        self._earlier_gaps: tuple[GapFacts, ...] = ()
        self._is_opened = False
        self._gathered: list[Packet] = []
        self._gathered_bytes = 0
        self._handed_over_ms = 0
        self._gathered_since_ns = facts.start_ns
        self._is_flushed = True
        self._backlog: list[Job] = []

    @property
    def queued_bytes(self) -> int:
        """Media that waits in memory for the disk."""
        return self.accepted_bytes - self.done_bytes

    @property
    def size_bytes(self) -> int:
        return self.writer.size_bytes if self.writer is not None else 0

    @property
    def duration_ms(self) -> int:
        return max(0, self.end_ms - self.start_ms)

    def can_hold(self, track: Track) -> bool:
        """Whether a file of this container can have such a track at all."""
        return can_hold(Container(self.facts.container), track.codec)

    def can_change(self, packet: Packet) -> bool:
        """Whether its track can go on in the file at this key frame, with another configuration."""
        track = packet.track
        known = self.tracks.get(track.id)
        if known is None or not can_change(Container(self.facts.container), known, track):
            return False
        if not carries_configuration(track, packet.data):
            return False
        return track in self._described or self._room_for_changes >= _CHANGE_BYTES + len(track.config)

    def current_facts(self) -> SegmentFacts:
        """The facts as they stand now."""
        tracks = self.writer.track_facts() if self.writer is not None else self.facts.tracks
        return replace(
            self.facts,
            size_bytes=self.size_bytes,
            duration_ms=self.duration_ms,
            end_ns=self.last_packet_ns,
            tracks=tracks,
            gaps=(*self._earlier_gaps, *self.gaps),
        )

    def go_on_in(
        self,
        facts: SegmentFacts,
        open_writer: WriterFactory,
        volume: Volume,
        *,
        before_ms: int,
        before_bytes: int,
    ) -> None:
        """Before `open`: the file is one that exists, whose row these facts are.

        This segment's media begins `before_ms` behind the beginning of the file, and that is where the row
        has it on the timeline of the stream.
        """
        self.facts = facts
        self.before_ms = before_ms
        self.start_ms = facts.start_pts_ms
        self.accepted_bytes += before_bytes
        self.done_bytes += before_bytes
        self._earlier_gaps = facts.gaps
        self._create_writer = open_writer
        self._volume = volume

    def open(self) -> None:
        """Let the work begin. Until then, jobs wait: the growing row is written before the first byte."""
        self._is_opened = True
        self._volume.submit(_Open(self))
        for job in self._backlog:
            self._volume.submit(job)
        self._backlog.clear()

    def write(self, packets: Sequence[Packet], size_bytes: int, arrival_ns: int) -> None:
        """Take packets up to `end_ms`; they go to the disk together once they are worth a fragment."""
        self.accepted_packets += len(packets)
        self.accepted_bytes += size_bytes
        self.last_packet_ns = arrival_ns
        if not self._gathered:
            self._gathered_since_ns = arrival_ns
        self._gathered += packets
        self._gathered_bytes += size_bytes
        if self.end_ms - self._handed_over_ms >= GATHER_MS or self._gathered_bytes >= GATHER_MAX_BYTES:
            self._hand_over()

    def flush(self, now_ns: int) -> None:
        """Put what has waited for more media for long enough on the disk now."""
        waited_ns = now_ns - self._gathered_since_ns
        if self._gathered:
            is_due = waited_ns >= FLUSH_NS
        else:
            is_due = waited_ns >= WRITER_FLUSH_NS and not self._is_flushed
        if is_due:
            self._hand_over()
            self._is_flushed = True
            self._submit(_Flush(self))

    def _hand_over(self) -> None:
        if self._gathered:
            packets, self._gathered = self._gathered, []
            size_bytes, self._gathered_bytes = self._gathered_bytes, 0
            self._handed_over_ms = self.end_ms
            self._is_flushed = False
            self._submit(_Write(self, packets, size_bytes))

    def add_track(self, track: Track, on_refused: Callable[[Segment, Track], None]) -> None:
        """Take in a track that appeared late; `on_refused` is called on the loop when the file cannot."""
        self.tracks[track.id] = track
        self._described.add(track)
        self._hand_over()
        self._submit(_AddTrack(self, track, on_refused))

    def change_track(self, track: Track, on_refused: Callable[[Segment, Track], None]) -> None:
        """Go on with another configuration, which `can_change`; `on_refused` is called on the loop when the
        file has less room than its kind has. What is written from now on is of that configuration."""
        self.tracks[track.id] = track
        if track not in self._described:
            self._described.add(track)
            self._room_for_changes -= _CHANGE_BYTES + len(track.config)
        self._hand_over()
        self._submit(_ChangeTrack(self, track, on_refused))

    def finish(self, ends: Mapping[int, int]) -> asyncio.Future[None]:
        """Put the last samples on disk; resolves when they are there. What is submitted later comes later.

        `ends`: per track the dts of the packet that follows elsewhere.
        """
        self._hand_over()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._submit(_Finish(self, ends, done))
        return done

    def _submit(self, job: Job) -> None:
        if self._is_opened:
            self._volume.submit(job)
        else:
            self._backlog.append(job)

    def note_loss(self, error: Exception, packets: int, size_bytes: int) -> None:
        """On the writer thread: the disk refused this much, or what the error itself says."""
        self.is_broken = True
        self.lost_packets += getattr(error, "dropped_packets", packets)
        self.lost_bytes += getattr(error, "dropped_bytes", size_bytes)

    def fail(self, error: Exception) -> None:
        """On the loop: the first failure ends this file, later ones only count."""
        if self.error is None:
            self.error = error
            self._on_failed(self, error)


class _SegmentJob(Job):
    __slots__ = ("segment",)

    def __init__(self, segment: Segment) -> None:
        self.segment = segment

    def failed(self, error: Exception) -> None:
        self.segment.fail(error)


class _Open(_SegmentJob):
    __slots__ = ()

    def run(self) -> None:
        segment = self.segment
        path = Path(segment.facts.path)
        segment._volume.require_mounted()
        segment.writer = segment._create_writer(path, segment.first_tracks, segment.facts)


class _Write(_SegmentJob):
    __slots__ = ("packets", "size_bytes")

    def __init__(self, segment: Segment, packets: list[Packet], size_bytes: int) -> None:
        self.segment = segment
        self.packets = packets
        self.size_bytes = size_bytes

    def run(self) -> None:
        segment = self.segment
        segment.done_bytes += self.size_bytes
        if segment.writer is None or segment.is_broken:
            self._lose()
            return
        if segment.refused_tracks:
            self._leave_out_refused()
        try:
            segment.writer.write(self.packets)
        except Exception as error:
            segment.note_loss(error, len(self.packets), self.size_bytes)
            raise

    def _leave_out_refused(self) -> None:
        refused = self.segment.refused_tracks
        kept = [packet for packet in self.packets if packet.track.id not in refused]
        self.segment.lost_packets += len(self.packets) - len(kept)
        self.packets = kept

    def _lose(self) -> None:
        self.segment.lost_packets += len(self.packets)
        self.segment.lost_bytes += self.size_bytes


class _Flush(_SegmentJob):
    __slots__ = ()

    def run(self) -> None:
        segment = self.segment
        if segment.writer is None or segment.is_broken:
            return
        try:
            segment.writer.flush()
        except Exception as error:
            segment.note_loss(error, 0, 0)
            raise


class _NewTrack(_SegmentJob):
    """A track, or a configuration of one, that the file does not have yet."""

    __slots__ = ("loop", "on_refused", "track")

    def __init__(self, segment: Segment, track: Track, on_refused: Callable[[Segment, Track], None]) -> None:
        self.segment = segment
        self.track = track
        self.on_refused = on_refused
        self.loop = asyncio.get_running_loop()

    def run(self) -> None:
        segment = self.segment
        if segment.writer is None or segment.is_broken:
            return
        if not self._offer(segment.writer):
            segment.refused_tracks.add(self.track.id)
            self.loop.call_soon_threadsafe(self.on_refused, segment, self.track)

    def _offer(self, writer: SegmentWriter) -> bool:
        raise NotImplementedError


class _AddTrack(_NewTrack):
    __slots__ = ()

    def _offer(self, writer: SegmentWriter) -> bool:
        return writer.add_track(self.track)


class _ChangeTrack(_NewTrack):
    __slots__ = ()

    def _offer(self, writer: SegmentWriter) -> bool:
        try:
            return writer.change_track(self.track)
        except Exception as error:
            self.segment.note_loss(error, 0, 0)
            raise


class _Finish(_SegmentJob):
    __slots__ = ("done", "ends", "loop")

    def __init__(self, segment: Segment, ends: Mapping[int, int], done: asyncio.Future[None]) -> None:
        self.segment = segment
        self.ends = ends
        self.done = done
        self.loop = done.get_loop()

    def run(self) -> None:
        try:
            if self.segment.writer is not None:
                self.segment.writer.finish(self.ends)
        finally:
            self.loop.call_soon_threadsafe(_resolve, self.done)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
