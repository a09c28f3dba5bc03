"""AppendingWriter: the part that the writers of FLV, MPEG-TS and Matroska share.

Packets wait until a fragment is worth a system call, then go to disk in the order in which they came, by one
write. The subclass says what bytes that takes; when the disk refuses them, the file is cut back to where it
was.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import ClassVar, Generic

from aircheck.containers import file_record
from aircheck.containers.existing import Existing
from aircheck.containers.file_record import MAX_TRACKS, FileRecord
from aircheck.containers.header import (
    Header,
    Summary,
    final_patches,
    growing_patches,
    make_final,
    patched,
    placed,
)
from aircheck.containers.key_index import KeyIndex
from aircheck.containers.lane import BEFORE_EVERYTHING, Group, L, Lanes, facts_of
from aircheck.containers.mp4.disk import Disk
from aircheck.containers.mp4.finalize import Method
from aircheck.containers.mp4.layout import VirtualFile
from aircheck.containers.mp4.writer import Finalized, WriteError
from aircheck.errors import ContainerError
from aircheck.facts import TrackFacts
from aircheck.media.packet import Packet, Payload
from aircheck.media.track import Track

_MAX_PENDING_PACKETS = 2000
_MAX_WAIT_FOR_TRACKS_MS = 500
"""So long the first fragment waits for every track to begin: the earliest packet decides where time 0 is."""


@dataclass(slots=True)
class Fragment:
    """Bytes to append. `keys` are times of key frames of the primary track, with offsets into the bytes."""

    buffers: Sequence[Payload]
    size_bytes: int
    keys: Sequence[tuple[int, int]]


class AppendingWriter(ABC, Generic[L]):
    """Writes one file.

    One thread at a time calls the writer. `view`, `track_facts` and the properties may be called by any
    thread at any time: a short lock guards what they read, and is never held during I/O.
    """

    clock_rate: ClassVar[int]
    """Ticks of the container per second."""
    most_tracks: ClassVar[int] = MAX_TRACKS
    """That a file may have."""

    def __init__(
        self,
        path: Path,
        tracks: Sequence[Track],
        *,
        note: bytes,
        creation_ns: int,
        fragment_ms: int,
        preallocate_bytes: int,
        max_tracks: int = MAX_TRACKS,
        existing: Existing | None = None,
    ) -> None:
        """Create `path` with a header for `tracks`, or go on with `existing`, whose tracks these are.

        Raises FileExistsError, any other OSError, or ContainerError for tracks that the container cannot
        hold; then there is no file. To one that exists nothing is done before it gets its first fragment.
        """
        self.path = path
        self._fragment_ms = fragment_ms
        self._preallocate_bytes = preallocate_bytes
        self._lock = threading.Lock()
        self._lanes: Lanes[L] = Lanes()
        for track in tracks:
            self._lanes.add(self._new_lane(track))
        max_tracks = max(min(max_tracks, self.most_tracks), len(tracks))
        self._has_data = any(track.is_data for track in tracks)
        self._record = FileRecord.new(creation_ns, note, tuple(map(facts_of, tracks)), max_tracks)
        self._final_note: bytes | None = None
        self._pending: list[Packet] = []
        has_video = any(track.is_video for track in tracks)
        self._keys = KeyIndex.of(has_video=has_video, clock_rate=self.clock_rate)
        self._origin: int | None = None
        self._is_origin_written = False
        self._allocated_to = 0
        self.error: OSError | None = None
        """The latest failure of the disk; None again as soon as a fragment is written."""
        self.dropped_packets = 0
        self._is_committed = existing is not None
        """The file is final, from an earlier recording: nothing may be written before it is told to grow."""
        self._existing_start = b""
        if existing is not None:
            self._resume(existing)
            return
        self._header = self._plan_header(tracks)
        self._end = self._header.size_bytes
        self._disk = Disk.create(path)
        try:
            self._disk.write(self._serialize_header(), 0)
        except BaseException:
            self._disk.close()
            path.unlink(missing_ok=True)
            raise

    def _resume(self, existing: Existing) -> None:
        """Know what the writer knew that left the file."""
        self._record, self._header = existing.header.record, existing.header
        self._disk, self._end = existing.disk, existing.scan.end
        self._existing_start = patched(existing.start, growing_patches(self._header))
        self._keys = existing.scan.keys
        self._origin = -(-self._record.start_us * self.clock_rate // 1_000_000)
        self._is_origin_written = True
        for lane, found in zip(self._lanes.all, existing.scan.tracks, strict=True):
            lane.base = self._origin
            lane.resume(
                found.packets,
                found.size_bytes,
                found.first_pts,
                found.max_pts,
                found.last_dts,
                found.last_duration,
            )
            lane.base = self._base

    @property
    def is_untouched(self) -> bool:
        """Whether the file is the final one of an earlier recording still."""
        return self._is_committed

    @property
    def end_s(self) -> Fraction:
        """Where the last track ends, on the stream's timeline."""
        begun = [lane for lane in self._lanes.all if lane.packets]
        lanes = [lane for lane in begun if not lane.track.is_data] or begun
        return max(Fraction(lane.end_pts, lane.track.timescale) for lane in lanes)

    def last_dts(self, number: int) -> int | None:
        """The dts that must be exceeded in the track of that number (from 0); None without any."""
        newest = self._lanes.all[number].newest_dts
        return newest if newest != BEFORE_EVERYTHING else None

    # --- what a container adds ---

    @abstractmethod
    def _make_lane(self, track: Track) -> L:
        """Raises ContainerError when the container cannot hold the track beside those it has."""

    @abstractmethod
    def _plan_header(self, tracks: Sequence[Track]) -> Header:
        """Where things lie; may complete `self._record`."""

    @abstractmethod
    def _serialize_header(self) -> bytes:
        """The header of the growing file as it is now."""

    @abstractmethod
    def _origin_of(self, groups: Sequence[tuple[L, Sequence[Packet]]]) -> int:
        """Where on the stream's timeline the file's time 0 lies, in the container's ticks."""

    @abstractmethod
    def _compose(self, packets: Sequence[Packet], groups: Sequence[Group[L]]) -> Fragment:
        """The bytes of a fragment of these packets, which are in groups as well.

        Raises ContainerError for a packet that the container cannot hold.
        """

    def _stored(self, message: Payload) -> Payload:
        """A data message as this container has it."""
        return message

    def _forget(self) -> None:
        """The fragment composed last is not in the file."""

    def _repeat_configuration(self) -> bytes:
        """What a file that goes on says of its tracks once more, before the first new fragment."""
        return b""

    def has_room_for(self, track: Track) -> bool:
        """Whether `add_track` will find room. Raises ContainerError when the container cannot hold it."""
        has_row = len(self._lanes.all) < self._record.max_tracks
        return has_row and self._new_lane(track) is not None

    @abstractmethod
    def _announce(self, lane: L) -> bool:
        """Tell the file of a new track; False when there is no room for it. Raises OSError."""

    # --- tracks ---

    def _new_lane(self, track: Track) -> L:
        ids = [lane.track.id for lane in self._lanes.all]
        if track.id in ids or not 0 <= track.id <= 0xFFFFFFFF:
            raise ContainerError(f"track ids must be different and not negative: {[*ids, track.id]}")
        if len(ids) >= self.most_tracks:
            raise ContainerError(f"more than {self.most_tracks} tracks", remedy="record to MP4")
        return self._make_lane(track)

    def add_track(self, track: Track) -> bool:
        """A track that turned up late. False when the file has no room for it: begin a new segment then.

        Raises ContainerError when the container cannot hold the track, OSError when the disk fails.
        """
        if len(self._lanes.all) >= self._record.max_tracks:
            return False
        lane = self._new_lane(track)
        self._has_data |= track.is_data
        self._cut()
        self._begin_to_grow()
        lane.base = self._base
        if not self._announce(lane):
            return False
        tracks = (*self._record.tracks, facts_of(track))
        self._patch_record(*self._record.late_track_patches(tracks))
        start = self._disk.read(0, len(self._existing_start))
        with self._lock:
            self._existing_start = start
            self._record = replace(self._record, tracks=tracks)
            self._lanes.add(lane)
            if track.is_video:
                self._keys.interval = 0
        return True

    def change_track(self, track: Track) -> bool:
        """Whether the track of that id can go on with another decoder configuration: in these files never."""
        return False

    # --- writing ---

    def write(self, packets: Sequence[Packet]) -> None:
        """Take packets in the order in which they shall lie in the file.

        They are on disk when this returns, once `fragment_ms` of media is pending. Raises WriteError when the
        disk refuses them, ContainerError for a packet of a track that the file does not have (nothing of the
        batch is taken then).
        """
        if not packets:
            return
        self._lanes.recognize(packets)
        self._pending += self._with_stored_data(packets) if self._has_data else packets
        if len(self._pending) > _MAX_PENDING_PACKETS or self._is_worth_writing():
            self._cut()

    def _with_stored_data(self, packets: Sequence[Packet]) -> list[Packet]:
        return [
            replace(packet, data=self._stored(packet.data)) if packet.track.is_data else packet
            for packet in packets
        ]

    def _is_worth_writing(self) -> bool:
        first, last = self._pending[0], self._pending[-1]
        scale = last.track.timescale
        end = last.dts + self._lanes.by_object[id(last.track)].last_duration
        pending_ms = abs(end * 1000 // scale - first.dts * 1000 // first.track.timescale)
        if pending_ms < self._fragment_ms:
            return False
        if self._origin is None and pending_ms < _MAX_WAIT_FOR_TRACKS_MS:
            begun = {lane.track for lane, _ in self._lanes.groups(self._pending)}
            return all(lane.track in begun or lane.track.is_data for lane in self._lanes.all)
        return True

    def flush(self) -> None:
        """Put what is pending on disk now. Raises WriteError."""
        self._cut()

    def _cut(self) -> None:
        """One fragment of all that is pending, by one write."""
        packets, self._pending = self._pending, []
        if not packets:
            return
        groups = self._lanes.groups(packets)
        if self._origin is None:
            self._set_origin(groups)
        try:
            fragment = self._compose(packets, groups)
        except BaseException:
            self._forget()
            self.dropped_packets += len(packets)
            raise
        self._put(fragment, packets)
        with self._lock:
            for lane, group in groups:
                lane.account(group)
            for time, offset in fragment.keys:
                self._keys.offer(time, self._end + offset)
            self._end += fragment.size_bytes

    def _put(self, fragment: Fragment, packets: Sequence[Packet]) -> None:
        try:
            self._begin_to_grow()
            if not self._is_origin_written:
                self._patch_record(file_record.start_patch(self._record.start_us))
                self._is_origin_written = True
            self._preallocate(fragment.size_bytes)
            self._disk.write_all(fragment.buffers, self._end)
        except OSError as error:
            with suppress(OSError):
                self._disk.truncate(self._end)
            self._forget()
            self.error, self._allocated_to = error, 0
            self.dropped_packets += len(packets)
            raise WriteError(error, len(packets), sum(len(packet.data) for packet in packets)) from error
        self.error = None

    def _begin_to_grow(self) -> None:
        """A file that was final is one that grows, and known as such, before its first new byte."""
        if not self._is_committed:
            return
        for offset, data in growing_patches(self._header):
            self._disk.write(data, offset)
            self._is_committed = False
        self._disk.sync()
        self._append(self._repeat_configuration())

    def _append(self, data: bytes) -> None:
        """Something that is no media: on disk, or not there at all."""
        try:
            self._disk.write(data, self._end)
        except OSError:
            with suppress(OSError):
                self._disk.truncate(self._end)
            raise
        with self._lock:
            self._end += len(data)

    def _preallocate(self, size: int) -> None:
        """Blocks ahead make writing cheaper; where there are none to have, writing itself will tell."""
        if self._preallocate_bytes and self._end + size > self._allocated_to:
            with suppress(OSError):
                self._disk.allocate(self._end, size + self._preallocate_bytes, keep_size=True)
            self._allocated_to = self._end + size + self._preallocate_bytes

    def _set_origin(self, groups: Sequence[tuple[L, Sequence[Packet]]]) -> None:
        media = [group for group in groups if not group[0].track.is_data]
        self._origin = self._origin_of(media or groups)
        for lane in self._lanes.all:
            lane.base = self._base
        self._record = replace(self._record, start_us=self._origin * 1_000_000 // self.clock_rate)

    @property
    def _base(self) -> int:
        """What is taken off every time of the stream, in ticks."""
        return self._origin or 0

    def _patch_record(self, *patches: file_record.Patch) -> None:
        for offset, data in placed(self._header, patches):
            self._disk.write(data, offset)

    # --- the end ---

    def set_note(self, note: bytes) -> None:
        """Replace the note in the file that `finalize` will make.

        There is room for as many bytes again as the first one had, and 4 KiB; of a longer note nothing is
        written, and the first one stays.
        """
        with self._lock:
            self._final_note = note

    def finish(self, ends: Mapping[int, int] | None = None) -> None:
        """Write what is pending and give back preallocated space.

        `ends` tells, per track id, the dts at which the track's last packet ends (its successor's dts in the
        next segment). Raises WriteError; the writer can be finalized all the same.
        """
        try:
            self._cut()
        finally:
            with self._lock:
                for lane in self._lanes.all:
                    lane.end_at((ends or {}).get(lane.track.id, lane.last_dts))
            with suppress(OSError):
                self._disk.truncate(self._end)

    def finalize(self, *, sync: bool = True) -> Finalized:
        """Complete the header, and close the file; `finish` came before. May run on another thread.

        Raises OSError when the disk fails: `recover_file` can try again.
        """
        try:
            summary = self._summary()
            make_final(self._disk, self._header, summary, sync=sync)
            return Finalized(Method.RESERVE, summary.end, summary.duration_ms, summary.tracks)
        finally:
            self._disk.close()

    def close(self) -> None:
        """Leave the file as it is: every fragment written is in it, and recovery will find it."""
        self._disk.close()

    # --- looking ---

    @property
    def size_bytes(self) -> int:
        """What has been written so far."""
        return self._end

    @property
    def duration_ms(self) -> int:
        """From the file's time 0 to the end of the longest track on disk."""
        with self._lock:
            return self._duration_ms()

    def _duration_ms(self) -> int:
        ends = [lane.end_pts * 1000 // lane.track.timescale for lane in self._lanes.all if lane.packets]
        return max(0, max(ends, default=0) - self._record.start_us // 1000) if ends else 0

    @property
    def nudged_packets(self) -> int:
        """Packets whose timestamps had to be moved to be representable."""
        return sum(lane.nudged for lane in self._lanes.all)

    @property
    def epoch(self) -> int:
        """Media bytes never move in this file."""
        return 0

    def track_facts(self) -> tuple[TrackFacts, ...]:
        with self._lock:
            return tuple(lane.facts() for lane in self._lanes.all)

    def view(self) -> VirtualFile:
        """The file as the final one it would be now."""
        with self._lock:
            summary, header = self._summary_now(), self._existing_start or self._serialize_header()
        complete = patched(header, final_patches(self._header, summary))
        return VirtualFile(complete, self.path, len(complete), summary.end, f"h{len(complete)}")

    def _summary(self) -> Summary:
        with self._lock:
            return self._summary_now()

    def _summary_now(self) -> Summary:
        tracks = tuple(lane.facts() for lane in self._lanes.all)
        return Summary(self._end, self._duration_ms(), tracks, self._keys.copy(), self._final_note)
