"""Reading one of our MPEG-TS files back: where each PES packet begins, and its header."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from aircheck.containers.header import Header
from aircheck.containers.mp4.disk import Disk
from aircheck.containers.mpegts.framing import split_frames
from aircheck.containers.mpegts.header import CLOCK_RATE, TsHeader, read_record
from aircheck.containers.mpegts.id3 import parse_tag
from aircheck.containers.mpegts.packets import (
    BODY_ONLY,
    FIRST_STREAM_PID,
    LEAD_TICKS,
    PAT_PID,
    PMT_PID,
    SYNC,
    TIME_MASK,
)
from aircheck.containers.mpegts.rows import BODY_BYTES, PACKET_BYTES
from aircheck.containers.remnant import Format, Progress, Scan, TrackScan
from aircheck.media.track import Codec, Kind

_HEADER_READ = 64 * 1024
_CHUNK = 5600 * PACKET_BYTES
_NO_UNIT = 0x40
"""Stands for a damaged packet: what came before it ends here."""
_MAX_CHUNK = 64 * _CHUNK
_IS_ALIGNED = 0x04
_TABLES = (PAT_PID, PMT_PID)
_UNIT_STARTS = re.compile(rb"[\x40-\x5f]")
"""Second bytes of packets with which a PES packet or a section begins."""


@dataclass(slots=True)
class TsScan(Scan):
    """`last_units` are the last whole PES packet of each track and the last tables, by PID."""

    last_units: dict[int, bytes] = field(default_factory=dict)

    def next_counter(self, pid: int, first: int) -> int:
        """The continuity counter that follows; `first` if there is none yet."""
        unit = self.last_units.get(pid, b"")
        for start in range(len(unit) - PACKET_BYTES, -1, -PACKET_BYTES):
            is_own = (unit[start + 1] & 0x1F) << 8 | unit[start + 2] == pid
            if is_own and unit[start + 3] & BODY_ONLY:
                return unit[start + 3] + 1 & 15
        return first


def read_header(disk: Disk) -> TsHeader | None:
    return read_record(disk.read(0, _HEADER_READ))


def scan(disk: Disk, header: Header, progress: Progress | None = None) -> Scan:
    """All whole PES packets: what we wrote as one lies together."""
    tracks = [_TsTrack(TrackScan(facts)) for facts in header.record.tracks]
    result = TsScan(header.size_bytes, CLOCK_RATE, [track.scan for track in tracks])
    for offset, unit, is_last in _units(disk, header.size_bytes, progress):
        if unit[0] != SYNC:
            continue
        pid = (unit[1] & 0x1F) << 8 | unit[2]
        number = pid - FIRST_STREAM_PID
        is_media = 0 <= number < len(tracks)
        if tracks[number].take(unit, is_last=is_last) if is_media else pid in _TABLES:
            result.skipped += offset - result.end
            result.end = offset + len(unit)
            result.last_units[pid] = unit
    return result


def _units(disk: Disk, offset: int, progress: Progress | None) -> Iterator[tuple[int, bytes, bool]]:
    """Runs of packets from one unit start to the next: offset, bytes, and whether nothing follows."""
    size, chunk = disk.size_bytes, _CHUNK
    while offset < size:
        if progress is not None:
            progress(offset, size)
        data = disk.read(offset, chunk)
        whole = len(data) // PACKET_BYTES * PACKET_BYTES
        is_end = offset + len(data) >= size
        starts = _unit_starts(data, whole)
        for start, end in pairwise([*starts, whole]):
            if end < whole or is_end:
                yield offset + start, data[start:end], end == whole
        if is_end:
            return
        if len(starts) < 2 and chunk < _MAX_CHUNK:
            chunk *= 2
            continue
        offset, chunk = offset + (starts[-1] if len(starts) > 1 else whole), _CHUNK


def _unit_starts(data: bytes, whole: int) -> list[int]:
    syncs, marks = data[:whole:PACKET_BYTES], data[1:whole:PACKET_BYTES]
    if syncs.count(SYNC) != len(syncs):
        marks = bytes(mark if sync == SYNC else _NO_UNIT for sync, mark in zip(syncs, marks, strict=True))
    return [found.start() * PACKET_BYTES for found in _UNIT_STARTS.finditer(marks)]


class _TsTrack:
    """Follows one PID; its times are unwrapped and count from the file's time 0."""

    def __init__(self, scan: TrackScan) -> None:
        self.scan = scan
        self._last = LEAD_TICKS
        self._missing = 0
        """What is still to come of a data message."""
        self._message_bytes = self._message_pts = 0

    def take(self, unit: bytes, *, is_last: bool) -> bool:
        """Count a PES packet; False when it is not whole."""
        if unit[::PACKET_BYTES].count(SYNC) * PACKET_BYTES != len(unit):
            return False
        body = _body(unit)
        if body[:3] != b"\0\0\1" or len(body) < 14:
            return False
        length = int.from_bytes(body[4:6], "big")
        if length and len(body) != length + 6:
            return False
        if not length and is_last and _is_full(unit):
            # A long picture tells its end by stuffing, or by what follows.
            return False
        if self.scan.facts.kind == Kind.DATA:
            return self._take_data(body)
        pts = self._unwrap(_parse_stamp(body, 9))
        dts = self._unwrap(_parse_stamp(body, 14)) if body[7] & 0x40 else pts
        content = body[9 + body[8] :]
        if self.scan.facts.kind == Kind.VIDEO:
            self.scan.add(dts, pts, len(content))
        else:
            self._take_frames(pts, content)
        return True

    def _take_data(self, body: bytes) -> bool:
        """A message, or the next part of a long one: it counts when all of it is there."""
        content = body[9 + body[8] :]
        if body[6] & _IS_ALIGNED:
            tag = parse_tag(content)
            if tag is None:
                return False
            self._missing, self._message_bytes = tag
            self._message_pts = self._unwrap(_parse_stamp(body, 9))
        elif not self._missing:
            return False
        self._missing = max(0, self._missing - len(content))
        if not self._missing:
            self.scan.add(self._message_pts, self._message_pts, self._message_bytes)
        return True

    def _take_frames(self, pts: int, content: bytes) -> None:
        facts = self.scan.facts
        codec = Codec(facts.codec)
        rate = facts.timescale if codec is Codec.AAC else facts.sample_rate
        samples = 0
        for size, duration in split_frames(codec, content):
            time = pts + samples * CLOCK_RATE // (rate or CLOCK_RATE)
            self.scan.add(time, time, size)
            samples += duration

    def _unwrap(self, stamp: int) -> int:
        """The stamp nearest to the last one, on a clock without end; from the file's time 0 on."""
        step = (stamp - self._last + (1 << 32) & TIME_MASK) - (1 << 32)
        self._last += step
        return self._last - LEAD_TICKS


def _body(unit: bytes) -> bytes:
    """What the packets of a unit hold, without headers and adaptation fields."""
    parts = []
    for start in range(0, len(unit), PACKET_BYTES):
        begin = start + PACKET_BYTES - BODY_BYTES
        if unit[start + 3] & 0x20:
            begin += 1 + unit[begin]
        parts.append(unit[begin : start + PACKET_BYTES])
    return b"".join(parts)


def _is_full(unit: bytes) -> bool:
    """Whether the last packet has no stuffing: more of the unit may be missing."""
    return not unit[len(unit) - PACKET_BYTES + 3] & 0x20


def _parse_stamp(body: bytes, offset: int) -> int:
    value = int.from_bytes(body[offset : offset + 5], "big")
    return (value >> 33 & 7) << 30 | (value >> 17 & 0x7FFF) << 15 | value >> 1 & 0x7FFF


FORMAT = Format(bytes((SYNC,)), read_header, scan)
