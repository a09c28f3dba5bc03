"""MatroskaWriter and WebmWriter: packets to a Matroska file."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import ClassVar

from aircheck.containers.appending import AppendingWriter, Fragment
from aircheck.containers.existing import Existing
from aircheck.containers.file_record import MAX_TRACKS, Patch
from aircheck.containers.lane import BEFORE_EVERYTHING, Group, Lane
from aircheck.containers.matroska import ebml
from aircheck.containers.matroska.ebml import element_id
from aircheck.containers.matroska.header import (
    CLOCK_RATE,
    MatroskaHeader,
    late_entry_patches,
    plan_areas,
    serialize_header,
)
from aircheck.containers.matroska.tracks import can_hold_in_webm, pre_skip, track_entry
from aircheck.errors import ContainerError
from aircheck.media.data_message import json_of, read_message
from aircheck.media.packet import Packet, Payload
from aircheck.media.track import Track

CLUSTER_HEAD = struct.Struct(">4sIHQ")
"""ID, size in four bytes, and the Timestamp element."""
BLOCK_HEAD = struct.Struct(">BIBhB")
"""A SimpleBlock: ID, size in four bytes, track number, time from the cluster's, flags."""

CLUSTER_SIZE_END = 8
SIZE_MARK = 1 << 28
TIMESTAMP_HEAD = ebml.TIMESTAMP << 8 | 0x88
NUMBER_MARK = 0x80
KEY_FLAG = 0x80

_CLUSTER_ID = element_id(ebml.CLUSTER)
_MAX_RELATIVE = 0x7FFF
_BLOCK_FIELDS = BLOCK_HEAD.size - 5
_OPUS_RATE = 48_000


class MatroskaLane(Lane):
    __slots__ = ("entry", "number")

    def __init__(self, track: Track, number: int) -> None:
        super().__init__(track, CLOCK_RATE)
        self.entry = track_entry(track, number)
        self.number = NUMBER_MARK | number
        # A block's time is later than its pts by the CodecDelay, which readers take off again.
        self.half += pre_skip(track) * CLOCK_RATE * self.den // _OPUS_RATE

    def resume(
        self, packets: int, size_bytes: int, first_pts: int, max_pts: int, last_dts: int, step: int
    ) -> None:
        super().resume(packets, size_bytes, first_pts, max_pts, last_dts, step)
        # The file knows no decoding times: that of the last packet may be well before its pts.
        self.newest_dts = BEFORE_EVERYTHING


class MatroskaWriter(AppendingWriter[MatroskaLane]):
    """Writes one Matroska file. Its time 0 is the earliest pts of the first fragment.

    Each fragment is a Cluster; one more begins at each key frame, so that Cues lead to their frame at once.
    Data messages are cues of WebVTT metadata.
    """

    extension = "mkv"
    clock_rate = CLOCK_RATE
    doc_type: ClassVar[str] = "matroska"
    most_tracks = 126
    """What one byte of a block can number; 127 is reserved."""

    def __init__(
        self,
        path: Path,
        tracks: Sequence[Track],
        *,
        note: bytes = b"",
        creation_ns: int,
        reserve_bytes: int = 64 * 1024,
        fragment_ms: int = 150,
        preallocate_bytes: int = 8 * 1024 * 1024,
        max_tracks: int = MAX_TRACKS,
        existing: Existing | None = None,
    ) -> None:
        """Create `path`.

        `note` is kept in the file for whoever recovers it. `reserve_bytes` is room for the Cues, 23 bytes for
        each key frame; a longer recording has Cues for every second or third one. `max_tracks` is for how
        many tracks there is room in all, late ones included. Raises FileExistsError, any other OSError, or
        ContainerError for tracks that the container cannot hold; then there is no file.
        """
        self._reserve_bytes = reserve_bytes
        super().__init__(
            path,
            tracks,
            note=note,
            creation_ns=creation_ns,
            fragment_ms=fragment_ms,
            preallocate_bytes=preallocate_bytes,
            max_tracks=max_tracks,
            existing=existing,
        )

    def _make_lane(self, track: Track) -> MatroskaLane:
        return MatroskaLane(track, len(self._lanes.all) + 1)

    def _plan_header(self, tracks: Sequence[Track]) -> MatroskaHeader:
        entries_now = [lane.entry for lane in self._lanes.all]
        index, entries = plan_areas(self._reserve_bytes, entries_now, self._record.max_tracks)
        self._record = replace(self._record, index_bytes=index, tracks_bytes=entries)
        return MatroskaHeader(self._record, self.doc_type)

    def _serialize_header(self) -> bytes:
        header = MatroskaHeader(self._record, self.doc_type)
        return serialize_header(header, [lane.entry for lane in self._lanes.all])

    def has_room_for(self, track: Track) -> bool:
        return self._late_patches(self._new_lane(track)) is not None

    def _announce(self, lane: MatroskaLane) -> bool:
        patches = self._late_patches(lane)
        for offset, data in patches or ():
            self._disk.write(data, offset)
        return patches is not None

    def _late_patches(self, lane: MatroskaLane) -> list[Patch] | None:
        header = MatroskaHeader(self._record, self.doc_type)
        return late_entry_patches(header, [*(known.entry for known in self._lanes.all), lane.entry])

    def _origin_of(self, groups: Sequence[tuple[MatroskaLane, Sequence[Packet]]]) -> int:
        return min(
            floor(Fraction(packet.pts * CLOCK_RATE, lane.track.timescale))
            for lane, packets in groups
            for packet in packets
        )

    def _stored(self, message: Payload) -> Payload:
        return _as_cue(message)

    def _compose(self, packets: Sequence[Packet], groups: Sequence[Group[MatroskaLane]]) -> Fragment:
        times, keys = self._times(packets)
        starts = sorted({0, *keys, *_jumps(times)})
        lanes, pack = self._lanes.by_object, BLOCK_HEAD.pack
        buffers: list[Payload] = []
        places: list[tuple[int, int]] = []
        size = 0
        for start, end in zip(starts, [*starts[1:], len(packets)], strict=True):
            origin = min(times[start:end])
            head_at, begin = len(buffers), size
            buffers.append(b"")
            size += CLUSTER_HEAD.size
            for packet, time in zip(packets[start:end], times[start:end], strict=True):
                data = packet.data
                body = len(data) + _BLOCK_FIELDS
                if body >= SIZE_MARK - 1:
                    raise _too_long(packet)
                number = lanes[id(packet.track)].number
                flags = KEY_FLAG if packet.is_keyframe else 0
                buffers.append(pack(ebml.SIMPLE_BLOCK, SIZE_MARK | body, number, time - origin, flags))
                buffers.append(data)
                size += body + 5
            body = size - begin - CLUSTER_SIZE_END
            buffers[head_at] = CLUSTER_HEAD.pack(_CLUSTER_ID, SIZE_MARK | body, TIMESTAMP_HEAD, origin)
            if start in keys:
                places.append((times[start], begin))
        return Fragment(buffers, size, places)

    def _times(self, packets: Sequence[Packet]) -> tuple[list[int], list[int]]:
        """Each packet's time, and where the key frames are; of sound alone, the first frame is one."""
        lanes, primary = self._lanes.by_object, self._lanes.primary
        times: list[int] = []
        keys: list[int] = []
        for packet in packets:
            lane = lanes[id(packet.track)]
            dts, pts = packet.dts, packet.pts
            if dts <= lane.newest_dts or pts < dts:
                dts, pts = lane.repair(dts, pts)
            lane.newest_dts = dts
            time = (pts * lane.num + lane.half) // lane.den - lane.base
            if time < 0:
                time = lane.clamp()
            if lane is primary and packet.is_keyframe:
                keys.append(len(times))
            times.append(time)
        is_sound = primary is not None and not primary.track.is_video
        return times, keys[:1] if is_sound else keys


class WebmWriter(MatroskaWriter):
    """Writes one WebM file: VP8, VP9 or AV1 with Opus, and data."""

    extension = "webm"
    doc_type = "webm"

    def _make_lane(self, track: Track) -> MatroskaLane:
        if not can_hold_in_webm(track.codec):
            raise ContainerError(
                f"WebM cannot hold {track.codec} (track {track.id})", remedy="record this stream to Matroska"
            )
        return super()._make_lane(track)


def _as_cue(message: Payload) -> bytes:
    """A data message as a cue of WebVTT ("WebVTT in WebM"): its name, no settings, its values in JSON."""
    name, values = read_message(message)
    identifier = " ".join(name.replace("-->", "").split())
    # An arrow would end the cue; in JSON it can only be within a string.
    text = json_of(values).replace("-->", r"--\u003e")
    return f"{identifier}\n\n{text}".encode("utf-8", "replace")


def _jumps(times: Sequence[int]) -> list[int]:
    """Where a new Cluster must begin because times are too far apart for 16 bits."""
    if max(times) - min(times) <= _MAX_RELATIVE:
        return []
    found, low, high = [], times[0], times[0]
    for position, time in enumerate(times):
        low, high = min(low, time), max(high, time)
        if high - low > _MAX_RELATIVE:
            found.append(position)
            low = high = time
    return found


def _too_long(packet: Packet) -> ContainerError:
    return ContainerError(f"a packet of {len(packet.data)} bytes is too long", remedy="record to MP4")
