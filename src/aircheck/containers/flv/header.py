"""The header of our FLV files: onMetaData with fields of fixed size, and the decoder configurations.

onMetaData begins with what is completed when the file becomes final (duration, size, our file record), so
that its place never depends on anything. It ends with an index of key frames of constant length, under a name
that nobody looks for as long as the file grows.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from aircheck.containers.file_record import FileRecord, Patch, parse_total_bytes
from aircheck.containers.flv.tags import (
    SCRIPT,
    TAG_HEADER_BYTES,
    metadata_codec_id,
    whole_tag,
)
from aircheck.containers.header import Summary
from aircheck.containers.key_index import KeyIndex
from aircheck.media.track import Track

SIGNATURE = b"FLV\x01"
CLOCK_RATE = 1000
FIRST_TAG_OFFSET = 13

_FLAG_VIDEO, _FLAG_AUDIO = 1, 4

_NUMBER, _BOOLEAN, _STRING, _OBJECT, _ECMA_ARRAY, _STRICT_ARRAY = (bytes((n,)) for n in (0, 1, 2, 3, 8, 10))
_OBJECT_END = b"\0\0\x09"
_MAX_STRING = 1000
"""libavformat takes no longer ones."""
_PIECE_HEAD = 3
_INDEX_ENTRY = 18
_MAX_INDEX_BYTES = 4 << 20
"""A tag cannot be longer than 16 MiB."""

_pack_double = struct.Struct(">d").pack


def _name(name: str) -> bytes:
    return struct.pack(">H", len(name)) + name.encode()


def _number(name: str, value: float) -> bytes:
    return _name(name) + _NUMBER + _pack_double(value)


def _string(name: str, value: str) -> bytes:
    return _name(name) + _STRING + _name(value)


_BODY_START = _STRING + _name("onMetaData") + _ECMA_ARRAY
_DURATION = _number("duration", 0)
_FILESIZE = _number("filesize", 0)
_INDEX_NAME = _name("keyframes")
_RESERVED_NAME = _name("-reserve-")
_RECORD_NAME = _name("aircheck") + _STRICT_ARRAY

_FIELDS_OFFSET = FIRST_TAG_OFFSET + TAG_HEADER_BYTES + len(_BODY_START) + 4
_DURATION_OFFSET = _FIELDS_OFFSET + len(_DURATION) - 8
_FILESIZE_OFFSET = _DURATION_OFFSET + len(_FILESIZE)
_NOTHING = Summary(0, 0, (), KeyIndex())

RECORD_OFFSET = _FIELDS_OFFSET + len(_DURATION) + len(_FILESIZE) + len(_RECORD_NAME) + 4 + _PIECE_HEAD
"""Its first piece, which holds all fields of fixed size. Each piece is an AMF string of its own."""


@dataclass(frozen=True, slots=True)
class FlvHeader:
    """Where things lie. `size_bytes` counts the configurations behind onMetaData, too."""

    record: FileRecord
    metadata_end: int
    size_bytes: int

    def final_patches(self, summary: Summary) -> Iterator[Patch]:
        yield from self._index_patches(summary)
        yield _DURATION_OFFSET, _pack_double(summary.duration_ms / 1000)
        yield _FILESIZE_OFFSET, _pack_double(summary.end)

    def _index_patches(self, summary: Summary) -> Iterator[Patch]:
        keys, entries = summary.keys, self.record.index_bytes // _INDEX_ENTRY
        if entries and len(keys):
            offset = self._index_offset
            yield offset, _index(keys.thinned(entries), entries, summary)
            yield offset - len(_OBJECT) - len(_INDEX_NAME), _INDEX_NAME

    def growing_patches(self) -> Iterator[Patch]:
        """The index loses its name before it loses its truth."""
        entries = self.record.index_bytes // _INDEX_ENTRY
        if entries:
            yield self._index_offset - len(_OBJECT) - len(_INDEX_NAME), _RESERVED_NAME
        yield _FILESIZE_OFFSET, _pack_double(0)
        yield _DURATION_OFFSET, _pack_double(0)

    @property
    def _index_offset(self) -> int:
        """Behind the index come the end of onMetaData and the size of the tag."""
        entries = self.record.index_bytes // _INDEX_ENTRY
        return self.metadata_end - 4 - len(_OBJECT_END) - len(_index(KeyIndex(), entries, _NOTHING))

    def place(self, patch: Patch) -> Iterator[Patch]:
        offset, data = patch
        while data:
            number, position = divmod(offset, _MAX_STRING)
            part = data[: _MAX_STRING - position]
            yield RECORD_OFFSET + offset + number * _PIECE_HEAD, part
            offset, data = offset + len(part), data[len(part) :]


def plan_index_bytes(reserve_bytes: int) -> int:
    """How much of a reserve the index will take: whole entries."""
    return min(reserve_bytes, _MAX_INDEX_BYTES) // _INDEX_ENTRY * _INDEX_ENTRY


def serialize_file_header(tracks: Sequence[Track]) -> bytes:
    """What stands before the first tag (E.2), for a file of these tracks."""
    has_video = any(track.is_video for track in tracks)
    has_audio = any(track.is_audio for track in tracks)
    flags = has_video * _FLAG_VIDEO | has_audio * _FLAG_AUDIO
    return SIGNATURE + bytes((flags,)) + struct.pack(">II", 9, 0)


def serialize_metadata(record: FileRecord, tracks: Sequence[Track]) -> bytes:
    """The onMetaData tag of a growing file, with the size that follows it."""
    fields = [
        _DURATION,
        _FILESIZE,
        _record_field(record),
        _string("creationdate", _creation_date(record.creation_ns)),
        _string("metadatacreator", "Aircheck"),
        *_track_fields(tracks),
    ]
    entries = record.index_bytes // _INDEX_ENTRY
    if entries:
        fields.append(_RESERVED_NAME + _OBJECT + _index(KeyIndex(), entries, _NOTHING))
    body = _BODY_START + struct.pack(">I", len(fields)) + b"".join(fields) + _OBJECT_END
    return whole_tag(SCRIPT, body)


def _record_field(record: FileRecord) -> bytes:
    data = record.serialize()
    pieces = [data[start : start + _MAX_STRING] for start in range(0, len(data), _MAX_STRING)]
    strings = (_STRING + struct.pack(">H", len(piece)) + piece for piece in pieces)
    return _RECORD_NAME + struct.pack(">I", len(pieces)) + b"".join(strings)


def parse_record(start: bytes) -> FileRecord | None:
    """The record of a file that begins so; None when it has none, or less than all of it is there."""
    try:
        size = parse_total_bytes(start[RECORD_OFFSET:])
        data, offset = b"", RECORD_OFFSET
        while len(data) < size:
            piece = start[offset : offset + min(_MAX_STRING, size - len(data))]
            if not piece:
                return None
            data += piece
            offset += len(piece) + _PIECE_HEAD
        return FileRecord.parse(data)
    except ValueError:
        return None


def _creation_date(creation_ns: int) -> str:
    return datetime.fromtimestamp(creation_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _track_fields(tracks: Sequence[Track]) -> Iterator[bytes]:
    video = next((track for track in tracks if track.is_video), None)
    audio = next((track for track in tracks if track.is_audio), None)
    if video is not None:
        yield _number("width", video.width)
        yield _number("height", video.height)
        yield _number("videocodecid", metadata_codec_id(video.codec))
    if audio is not None:
        yield _number("audiocodecid", metadata_codec_id(audio.codec))
        yield _number("audiosamplerate", audio.sample_rate)
        yield _number("audiosamplesize", 16)
        yield _name("stereo") + _BOOLEAN + bytes((audio.channels > 1,))


def _index(keys: KeyIndex, entries: int, summary: Summary) -> bytes:
    """Positions and times (in seconds) of key frames, and the end of their object.

    It has `entries` of each: what is not needed points to the end of the file.
    """
    positions = list(map(float, keys.positions))
    times = [time / CLOCK_RATE for time in keys.times]
    rest = entries - len(keys)
    return b"".join(
        (
            _numbers("filepositions", positions + rest * [float(summary.end)]),
            _numbers("times", times + rest * [summary.duration_ms / 1000]),
            _OBJECT_END,
        )
    )


def _numbers(name: str, values: list[float]) -> bytes:
    rows = b"".join(_NUMBER + _pack_double(value) for value in values)
    return _name(name) + _STRICT_ARRAY + struct.pack(">I", len(values)) + rows
