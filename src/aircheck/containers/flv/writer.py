"""FlvWriter: packets to an FLV file."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from math import floor
from pathlib import Path

from aircheck.containers.appending import AppendingWriter, Fragment
from aircheck.containers.existing import Existing
from aircheck.containers.flv.header import (
    CLOCK_RATE,
    FIRST_TAG_OFFSET,
    FlvHeader,
    plan_index_bytes,
    serialize_file_header,
    serialize_metadata,
)
from aircheck.containers.flv.tags import MAX_BODY_BYTES, TAG_HEADER_BYTES, form_of, pack_size, whole_tag
from aircheck.containers.lane import Group, Lane, require_config
from aircheck.errors import ContainerError
from aircheck.media.packet import Packet, Payload
from aircheck.media.track import Track

_MAX_COMPOSITION_MS = 0x7FFFFF
_ON_META_DATA = b"\x02\0\x0aonMetaData"
_OF_A_FILE = re.compile(rb"\0\x08(?:duration|filesize|fileSize)\0.{8}", re.DOTALL)
"""Members of an AMF0 object that are numbers. Live encoders set them to 0, and players would believe it."""


class FlvLane(Lane):
    """A track with the form of its tags. A head is the size of the tag before, the tag's own, the prefix."""

    __slots__ = ("form", "head", "prefix_bytes")

    def __init__(self, track: Track, index: int) -> None:
        super().__init__(track, CLOCK_RATE)
        require_config(track)
        self.form = form_of(track, index)
        prefix_bytes = len(self.form.key_prefix)
        self.head = struct.Struct(f">III3x{prefix_bytes}s")
        self.prefix_bytes = prefix_bytes + 3 * self.form.has_composition_time


class FlvWriter(AppendingWriter[FlvLane]):
    """Writes one FLV file. Its time 0 is the earliest dts of the first fragment."""

    extension = "flv"
    clock_rate = CLOCK_RATE

    def __init__(
        self,
        path: Path,
        tracks: Sequence[Track],
        *,
        note: bytes = b"",
        creation_ns: int,
        reserve_bytes: int = 32 * 1024,
        fragment_ms: int = 150,
        preallocate_bytes: int = 8 * 1024 * 1024,
        existing: Existing | None = None,
    ) -> None:
        """Create `path`.

        `note` is kept in the file for whoever recovers it. `reserve_bytes` is room for the index of key
        frames, 18 bytes each; a longer recording has an index of every second or third one. Raises
        FileExistsError, any other OSError, or ContainerError for tracks that FLV cannot hold; then there is
        no file.
        """
        self._reserve_bytes = reserve_bytes
        super().__init__(
            path,
            tracks,
            note=note,
            creation_ns=creation_ns,
            fragment_ms=fragment_ms,
            preallocate_bytes=preallocate_bytes,
            existing=existing,
        )

    def _make_lane(self, track: Track) -> FlvLane:
        return FlvLane(track, sum(lane.track.kind is track.kind for lane in self._lanes.all))

    def _plan_header(self, tracks: Sequence[Track]) -> FlvHeader:
        self._record = replace(self._record, index_bytes=plan_index_bytes(self._reserve_bytes))
        metadata_end = FIRST_TAG_OFFSET + len(serialize_metadata(self._record, tracks))
        self._first_tracks = tuple(tracks)
        self._starts = b"".join(_sequence_start(lane) for lane in self._lanes.all)
        return FlvHeader(self._record, metadata_end, metadata_end + len(self._starts))

    def _serialize_header(self) -> bytes:
        start = serialize_file_header([lane.track for lane in self._lanes.all])
        return start + serialize_metadata(self._record, self._first_tracks) + self._starts

    def _repeat_configuration(self) -> bytes:
        """Readers take it for what follows: it may be another one."""
        begun = [lane for lane in self._lanes.all if lane.packets]
        now = max((lane.ticks(lane.last_dts) for lane in begun), default=0)
        return b"".join(_sequence_start(lane, now) for lane in self._lanes.all)

    def _announce(self, lane: FlvLane) -> bool:
        start = serialize_file_header([lane.track, *(known.track for known in self._lanes.all)])
        self._disk.write(start, 0)
        self._append(_sequence_start(lane))
        return True

    def _origin_of(self, groups: Sequence[tuple[FlvLane, Sequence[Packet]]]) -> int:
        return min(
            floor(Fraction(packet.dts * CLOCK_RATE, lane.track.timescale))
            for lane, packets in groups
            for packet in packets
        )

    def _stored(self, message: Payload) -> Payload:
        """As it came, without what onMetaData says of a whole file: the file's own knows better."""
        data = bytes(message)
        return _OF_A_FILE.sub(b"", data) if data.startswith(_ON_META_DATA) else data

    def _compose(self, packets: Sequence[Packet], groups: Sequence[Group[FlvLane]]) -> Fragment:
        lanes, primary = self._lanes.by_object, self._lanes.primary
        buffers: list[Payload] = []
        keys: list[tuple[int, int]] = []
        size = previous = 0
        for packet in packets:
            lane = lanes[id(packet.track)]
            dts, pts, data = packet.dts, packet.pts, packet.data
            if dts <= lane.newest_dts or pts < dts:
                dts, pts = lane.repair(dts, pts)
            lane.newest_dts = dts
            num, half, den, form = lane.num, lane.half, lane.den, lane.form
            time = (dts * num + half) // den - lane.base
            if time < 0:
                time = lane.clamp()
            body = len(data) + lane.prefix_bytes
            if body > MAX_BODY_BYTES:
                raise _too_long(packet)
            prefix = form.inter_prefix
            if packet.is_keyframe:
                prefix = form.key_prefix
                if lane is primary:
                    keys.append((time, size))
            stamp = (time & 0xFFFFFF) << 8 | time >> 24 & 0xFF
            head = lane.head.pack(previous, form.type_id << 24 | body, stamp, prefix)
            if form.has_composition_time:
                offset = (pts * num + half) // den - lane.base - time
                head += min(max(0, offset), _MAX_COMPOSITION_MS).to_bytes(3, "big")
            buffers.append(head)
            buffers.append(data)
            previous = body + TAG_HEADER_BYTES
            size += previous + 4
        # The size of a tag follows it; so the first one here has none before it, and the last one behind.
        buffers[0] = buffers[0][4:]
        buffers.append(pack_size(previous))
        return Fragment(buffers, size, keys)


def _sequence_start(lane: FlvLane, time: int = 0) -> bytes:
    form = lane.form
    return whole_tag(form.type_id, form.sequence_start, time) if form.sequence_start else b""


def _too_long(packet: Packet) -> ContainerError:
    return ContainerError(
        f"a packet of {len(packet.data)} bytes is too long for FLV", remedy="record this stream to MP4"
    )
