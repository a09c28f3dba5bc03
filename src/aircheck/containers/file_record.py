"""File record: what a file of ours says of itself, in bytes that its container carries unread.

FLV keeps it in onMetaData, Matroska in a Void element, MPEG-TS in null packets. It makes a file ours, tells
whether it is final, and keeps what is known of a final file, so that nobody has to read it all:

    magic, version, total size
    creation_ns, start_us        wall clock of the creation; the stream's own time at the file's time 0
    size_bytes                   0 while the file grows: *this* makes it final, by one write of 8 bytes
    duration_ms                  likewise of 8 bytes
    room for tracks, how many    4 bytes each, written together; no room said is that for `MAX_TRACKS`
    areas                        sizes of what the container has reserved in its header
    place and size of the note   8 bytes together
    rows                         one for each track
    note                         the caller's, and room for others that may replace it, one after the other

All before the note has its fixed place: it is written again in a growing file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aircheck.facts import TrackFacts
from aircheck.media.track import Codec

MAGIC = b"Aircheck"
MAX_TRACKS = 8
"""For which there is room unless more are asked for."""

_VERSION = 1
_HEAD = struct.Struct(">8sIIqqQQQIIII")
_ROW = struct.Struct(">I8sIHHIH2xQQQ")
_U64 = struct.Struct(">Q")
_START_OFFSET = 24
_SIZE_OFFSET = 32
_DURATION_OFFSET = 40
_COUNT_OFFSET = 48
_NOTE_OFFSET = 64
_NOTE_MAY_GROW = 4096

Patch = tuple[int, bytes]
"""Bytes to be written at an offset: of the record here, of the file elsewhere."""


@dataclass(frozen=True, slots=True)
class FileRecord:
    """The record's fields. `index_bytes` and `tracks_bytes` are areas in the header of the file."""

    creation_ns: int
    total_bytes: int = 0
    note: bytes = b""
    tracks: tuple[TrackFacts, ...] = ()
    start_us: int = 0
    size_bytes: int = 0
    duration_ms: int = 0
    index_bytes: int = 0
    tracks_bytes: int = 0
    note_offset: int = 0
    max_tracks: int = MAX_TRACKS

    @classmethod
    def new(
        cls, creation_ns: int, note: bytes, tracks: tuple[TrackFacts, ...], max_tracks: int = MAX_TRACKS
    ) -> FileRecord:
        """Of a file that begins."""
        fixed = _fixed_bytes(max_tracks)
        total = fixed + 2 * len(note) + _NOTE_MAY_GROW
        return cls(creation_ns, total, note, tracks, note_offset=fixed, max_tracks=max_tracks)

    def serialize(self) -> bytes:
        """Of a growing file, whose note is still its first one."""
        head = _HEAD.pack(
            MAGIC,
            _VERSION,
            self.total_bytes,
            self.creation_ns,
            self.start_us,
            self.size_bytes,
            self.duration_ms,
            self._room_and_count(len(self.tracks)),
            self.index_bytes,
            self.tracks_bytes,
            self._fixed_bytes,
            len(self.note),
        )
        start = (head + _rows(self.tracks)).ljust(self._fixed_bytes, b"\0") + self.note
        return start.ljust(self.total_bytes, b"\0")

    def note_patches(self, note: bytes) -> Iterator[Patch]:
        """Another note, at the end of the room that the one there is does not have; else that one stays."""
        is_in_front = self._fixed_bytes + len(note) <= self.note_offset
        offset = self._fixed_bytes if is_in_front else self.total_bytes - len(note)
        if is_in_front or offset >= self.note_offset + len(self.note):
            yield offset, note
            yield _NOTE_OFFSET, struct.pack(">II", offset, len(note))

    def late_track_patches(self, tracks: Sequence[TrackFacts]) -> Iterator[Patch]:
        """The last of `tracks` is new: its row first, then the count that makes it one."""
        yield _HEAD.size + (len(tracks) - 1) * _ROW.size, _rows(tracks[-1:])
        yield _COUNT_OFFSET, _U64.pack(self._room_and_count(len(tracks)))

    @property
    def _fixed_bytes(self) -> int:
        """Everything before the note."""
        return _fixed_bytes(self.max_tracks)

    def _room_and_count(self, count: int) -> int:
        return count if self.max_tracks == MAX_TRACKS else self.max_tracks << 32 | count

    @classmethod
    def parse(cls, data: bytes) -> FileRecord:
        """From its first bytes on; what follows the record is left alone. Raises ValueError."""
        total = parse_total_bytes(data)
        (
            *_,
            version,
            _,
            creation_ns,
            start_us,
            size_bytes,
            duration_ms,
            room_and_count,
            index_bytes,
            tracks_bytes,
            note_offset,
            note_bytes,
        ) = _HEAD.unpack_from(data)
        max_tracks, count = room_and_count >> 32 or MAX_TRACKS, room_and_count & 0xFFFFFFFF
        fixed = _fixed_bytes(max_tracks)
        if version != _VERSION or count > max_tracks or not fixed <= total <= len(data):
            raise ValueError(f"a record of version {version}, {count} tracks, {total} bytes")
        if not fixed <= note_offset <= note_offset + note_bytes <= total:
            raise ValueError(f"a note of {note_bytes} bytes at {note_offset} in {total}")
        rows = tuple(_parse_row(data, _HEAD.size + number * _ROW.size) for number in range(count))
        return cls(
            creation_ns=creation_ns,
            total_bytes=total,
            note=bytes(data[note_offset : note_offset + note_bytes]),
            tracks=rows,
            start_us=start_us,
            size_bytes=size_bytes,
            duration_ms=duration_ms,
            index_bytes=index_bytes,
            tracks_bytes=tracks_bytes,
            note_offset=note_offset,
            max_tracks=max_tracks,
        )


def _fixed_bytes(max_tracks: int) -> int:
    return _HEAD.size + max_tracks * _ROW.size


def parse_total_bytes(data: bytes) -> int:
    """How long a record is that begins so. Raises ValueError."""
    if len(data) < _HEAD.size or data[:8] != MAGIC:
        raise ValueError("no record of this program")
    return int(_HEAD.unpack_from(data)[2])


def is_torn(start: bytes, file_size: int) -> bool:
    """Whether a file that begins so ends within its record: then nothing was ever recorded to it."""
    position = start.find(MAGIC + _VERSION.to_bytes(4, "big"))
    if position < 0:
        return False
    if len(start) < position + _HEAD.size:
        return True
    record = parse_total_bytes(start[position:])
    # What a container puts between the record's pieces is less than 188 bytes and a thirtieth of it.
    return file_size < position + record + record // 30 + 188


def start_patch(start_us: int) -> Patch:
    return _START_OFFSET, struct.pack(">q", start_us)


def growing_patch() -> Patch:
    """Makes a final file one that grows again."""
    return _SIZE_OFFSET, _U64.pack(0)


def final_patches(tracks: Sequence[TrackFacts], duration_ms: int, size_bytes: int) -> Iterator[Patch]:
    """What a file knows when it is final. The last one makes it so."""
    yield _HEAD.size, _rows(tracks)
    yield _DURATION_OFFSET, _U64.pack(duration_ms)
    yield _SIZE_OFFSET, _U64.pack(size_bytes)


def _rows(tracks: Sequence[TrackFacts]) -> bytes:
    return b"".join(
        _ROW.pack(
            track.id,
            track.codec.encode(),
            track.timescale,
            min(track.width, 0xFFFF),
            min(track.height, 0xFFFF),
            track.sample_rate,
            track.channels,
            track.packets,
            track.size_bytes,
            track.duration_ms,
        )
        for track in tracks
    )


def _parse_row(data: bytes, offset: int) -> TrackFacts:
    number, name, timescale, width, height, rate, channels, packets, size, duration = _ROW.unpack_from(
        data, offset
    )
    codec = Codec(name.rstrip(b"\0").decode("ascii"))
    return TrackFacts(
        id=number,
        codec=codec.value,
        kind=codec.kind.value,
        timescale=timescale,
        width=width,
        height=height,
        sample_rate=rate,
        channels=channels,
        packets=packets,
        size_bytes=size,
        duration_ms=duration,
    )
