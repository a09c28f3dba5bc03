"""The header of our Matroska and WebM files.

    EBML | Segment: SeekHead | Void with our file record | Info | Tracks | Void for the Cues | Clusters …

All has constant places. While the file grows, the Segment's size is unknown, and what is missing (Cues and
where they are, Duration) is Void. It is filled in from behind: first the body, which nobody sees, then the
few bytes that turn the Void into what it was kept for.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat

from aircheck.containers.file_record import FileRecord, Patch
from aircheck.containers.header import Summary
from aircheck.containers.key_index import KeyIndex
from aircheck.containers.matroska import ebml
from aircheck.containers.matroska.ebml import element, element_id, size_field, text, uint, void_header
from aircheck.media.track import Kind

CLOCK_RATE = 1000
_TIMESTAMP_SCALE_NS = 1_000_000
_EPOCH_NS = 978_307_200 * 10**9
"""2001-01-01, where DateUTC counts from."""

_VOID_WIDTH = 7
"""Of a Void's size where the header is to be replaced: with the ID eight bytes."""
_LAST_VOID = 9
_SEEK_BODY = 18
_CUE_POINT_BYTES = 23
_CUE_VALUE_WIDTH = 6
ENTRY_BYTES = 256
"""Of a track's entry, as a rule: the most of it is the decoder's configuration."""


def ebml_head(doc_type: str) -> bytes:
    """The same bytes in every file of a type: by them we know ours."""
    return element(
        ebml.EBML,
        uint(0x4286, 1),  # EBMLVersion
        uint(0x42F7, 1),  # EBMLReadVersion
        uint(0x42F2, 4),  # EBMLMaxIDLength
        uint(0x42F3, 8),  # EBMLMaxSizeLength
        text(0x4282, doc_type),
        uint(0x4287, 4),  # DocTypeVersion
        uint(0x4285, 2),  # DocTypeReadVersion: SimpleBlocks
    )


HEADS = {ebml_head(doc_type): doc_type for doc_type in ("matroska", "webm")}


@dataclass(frozen=True, slots=True)
class MatroskaHeader:
    """Where things lie. All offsets are the file's; positions inside the file count from `segment`."""

    record: FileRecord
    doc_type: str

    @property
    def segment(self) -> int:
        """Where the Segment's content begins."""
        return len(ebml_head(self.doc_type)) + 12

    @property
    def record_offset(self) -> int:
        return self.segment + len(_SEEK_HEAD_START) + 3 * _SEEK_BYTES + _LAST_VOID

    @property
    def info(self) -> int:
        return self.record_offset + self.record.total_bytes

    @property
    def tracks(self) -> int:
        return self.info + len(_info(0))

    @property
    def cues(self) -> int:
        return self.tracks + self.record.tracks_bytes

    @property
    def size_bytes(self) -> int:
        return self.cues + self.record.index_bytes

    def final_patches(self, summary: Summary) -> Iterator[Patch]:
        if len(summary.keys):
            yield from self._cues_patches(summary.keys, _primary_number(summary))
        duration = self.tracks - 8
        yield duration, struct.pack(">d", summary.duration_ms)
        yield duration - 3, element_id(ebml.DURATION) + b"\x88"
        yield self.segment - 8, size_field(summary.end - self.segment, 8)

    def growing_patches(self) -> Iterator[Patch]:
        """Readers go beyond the end that was; then what leads to the Cues goes, and at last they do."""
        yield self.segment - 8, ebml.UNKNOWN_SIZE
        yield self.tracks - 11, void_header(11, 2)
        yield self._cues_seek, void_header(_SEEK_BYTES, 2)
        yield self.cues, void_header(self.record.index_bytes, _VOID_WIDTH)

    @property
    def _cues_seek(self) -> int:
        return self.segment + len(_SEEK_HEAD_START) + 2 * _SEEK_BYTES

    def _cues_patches(self, keys: KeyIndex, track: int) -> Iterator[Patch]:
        room = max(0, (self.record.index_bytes - 8 - _LAST_VOID) // _CUE_POINT_BYTES)
        chosen = keys.thinned(room)
        if not len(chosen):
            return
        positions = (position - self.segment for position in chosen.positions)
        points = b"".join(map(_cue_point, chosen.times, positions, repeat(track)))
        rest = self.record.index_bytes - 8 - len(points)
        yield self.cues + 8, points + void_header(rest, 8)
        yield self.cues, element_id(ebml.CUES) + size_field(len(points), 4)
        entry = _seek(ebml.CUES, self.cues - self.segment)
        yield self._cues_seek + 3, entry[3:]
        yield self._cues_seek, entry[:3]

    def place(self, patch: Patch) -> Iterator[Patch]:
        offset, data = patch
        yield self.record_offset + offset, data


def serialize_header(header: MatroskaHeader, entries: Sequence[bytes]) -> bytes:
    """The header of a growing file whose TrackEntry elements are `entries`."""
    record, segment = header.record, header.segment
    seeks = _seek(ebml.INFO, header.info - segment) + _seek(ebml.TRACKS, header.tracks - segment)
    unknown = void_header(_SEEK_BYTES, 2) + bytes(_SEEK_BODY)
    return b"".join(
        (
            ebml_head(header.doc_type),
            element_id(ebml.SEGMENT) + ebml.UNKNOWN_SIZE,
            _SEEK_HEAD_START + seeks + unknown,
            void_header(_LAST_VOID + record.total_bytes, 8) + record.serialize(),
            _info(record.creation_ns),
            _tracks(entries, record.tracks_bytes),
            void_header(record.index_bytes, _VOID_WIDTH).ljust(record.index_bytes, b"\0"),
        )
    )


def plan_areas(reserve_bytes: int, entries: Sequence[bytes], max_tracks: int) -> tuple[int, int]:
    """Sizes of the Cues' area and of the Tracks element."""
    index = 8 + _LAST_VOID + max(1, reserve_bytes // _CUE_POINT_BYTES) * _CUE_POINT_BYTES
    return index, 8 + sum(map(len, entries)) + max_tracks * ENTRY_BYTES


def late_entry_patches(header: MatroskaHeader, entries: Sequence[bytes]) -> list[Patch] | None:
    """The last of `entries` is new: it takes the beginning of the Void in Tracks. None if it has no room."""
    *old, new = entries
    offset = header.tracks + 8 + sum(map(len, old))
    rest = header.cues - offset - len(new)
    if rest < _VOID_WIDTH + 1:
        return None
    return [(offset + 8, new[8:] + void_header(rest, _VOID_WIDTH)), (offset, new[:8])]


def stored_entries(header: MatroskaHeader, start: bytes) -> list[bytes]:
    """The TrackEntry elements in the first bytes of a file."""
    entries, offset = [], header.tracks + 8
    while offset < header.cues and start[offset] == ebml.TRACK_ENTRY:
        size = int.from_bytes(start[offset + 1 : offset + 8], "big") & (1 << 49) - 1
        entries.append(start[offset : offset + 8 + size])
        offset += 8 + size
    return entries


def read_record(start: bytes) -> MatroskaHeader | None:
    """From the first bytes of a file; None when it is not ours or its record is not all there."""
    head = next((head for head in HEADS if start.startswith(head)), b"")
    if not head:
        return None
    blank = MatroskaHeader(FileRecord(0), HEADS[head])
    data = start[blank.record_offset :]
    try:
        return MatroskaHeader(FileRecord.parse(data), HEADS[head])
    except ValueError:
        return None


def _primary_number(summary: Summary) -> int:
    """The number of the track whose key frames the Cues list."""
    numbers = (number for number, track in enumerate(summary.tracks, 1) if track.kind == Kind.VIDEO)
    return next(numbers, 1)


def _cue_point(time: int, position: int, track: int) -> bytes:
    place = uint(ebml.CUE_CLUSTER_POSITION, position, _CUE_VALUE_WIDTH)
    return element(
        ebml.CUE_POINT,
        uint(ebml.CUE_TIME, time, _CUE_VALUE_WIDTH),
        element(ebml.CUE_TRACK_POSITIONS, uint(ebml.CUE_TRACK, track), place),
    )


def _seek(number: int, position: int) -> bytes:
    return element(
        ebml.SEEK, element(ebml.SEEK_ID, element_id(number)), uint(ebml.SEEK_POSITION, position, 8)
    )


_SEEK_BYTES = 3 + _SEEK_BODY
_SEEK_HEAD_START = element_id(ebml.SEEK_HEAD) + size_field(3 * _SEEK_BYTES, 1)


def _info(creation_ns: int) -> bytes:
    """Ends with a Void that will be the Duration."""
    return element(
        ebml.INFO,
        uint(ebml.TIMESTAMP_SCALE, _TIMESTAMP_SCALE_NS),
        text(ebml.MUXING_APP, "Aircheck"),
        text(ebml.WRITING_APP, "Aircheck"),
        element(ebml.DATE_UTC, struct.pack(">q", creation_ns - _EPOCH_NS)),
        void_header(11, 2) + bytes(8),
    )


def _tracks(entries: Sequence[bytes], total: int) -> bytes:
    rest = total - 8 - sum(map(len, entries))
    start = element_id(ebml.TRACKS) + size_field(total - 8, 4)
    return start + b"".join(entries) + void_header(rest, _VOID_WIDTH).ljust(rest, b"\0")
