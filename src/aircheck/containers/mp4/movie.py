"""The `moov` box: of a growing file (tracks, no samples) and of a finished one (all sample tables)."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, compress, islice
from operator import ne, sub

from aircheck.containers.mp4.boxes import U32_MAX, big_endian, box, full_box, interleave, mac_time_s, table
from aircheck.containers.mp4.index import TrackHeader, TrackIndex
from aircheck.containers.mp4.sample_entry import stored_entries
from aircheck.containers.mp4.timeline import Edit, edit_of, movie_timescale, ticks_at, zero_time_s
from aircheck.media.track import Codec, Kind

NOTE_UUID = bytes.fromhex("e623ba4a1b8b52dea8eca79e1e4fe225")
"""Marks a file as ours. The box holds the fields below, then the caller's note."""

NOTE_FIELDS = struct.Struct(">Iqq")
"""Version; `origin_ms` and `start_us` of MovieFacts."""

SYNC_SAMPLE = 0x02000000
OTHER_SAMPLE = 0x01010000
"""Sample flags (14496-12, 8.8.3.1): depends on nothing; depends on others and is no sync sample."""

_HANDLERS = {Kind.VIDEO: b"vide", Kind.AUDIO: b"soun", Kind.DATA: b"meta"}
_MEDIA_HEADERS = {
    Kind.VIDEO: full_box(b"vmhd", 0, 1, bytes(8)),
    Kind.AUDIO: full_box(b"smhd", 0, 0, bytes(4)),
    Kind.DATA: full_box(b"nmhd", 0, 0),
}
_MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
_UNDETERMINED = 0x55C4
"""Language "und", three letters of five bits."""
_OPUS_PREROLL_MS = 80
"""What an Opus decoder needs to converge (RFC 7845 4.6)."""
_RESTLESS_SAMPLE = 4096
_RESTLESS_SHARE = 0.75
_NORMAL_RATE = 0x10000


@dataclass(frozen=True, slots=True)
class MovieFacts:
    """What a `moov` says apart from its tracks.

    `origin_ms` is where tfdt 0 lies on the stream's timeline, `start_us` where the file's time 0 does.
    """

    creation_ns: int
    note: bytes
    origin_ms: int = 0
    start_us: int = 0


def init_moov(tracks: Sequence[TrackIndex], facts: MovieFacts) -> bytes:
    """`moov` of a fragmented file. Its edit lists put time 0 where the finished file will have it."""
    zero_s = zero_time_s(tracks)
    has_begun = any(track.samples for track in tracks)
    traks = []
    for track in tracks:
        header = track.header
        edits = b""
        if has_begun:
            origin = header.origin_ticks(facts.origin_ms)
            # Duration 0: to the end of the media, whatever that will be.
            edits = _edts(Edit(0, max(0, ticks_at(zero_s, header.timescale) - origin), 0))
        tables = (
            table(b"stts", 0, 0),
            table(b"stsc", 0, 0),
            full_box(b"stsz", 0, 0, bytes(8)),
            table(b"stco", 0, 0),
        )
        traks.append(_trak(header, facts, _is_first_of_kind(track, tracks), 0, 0, edits, tables))
    mvex = box(b"mvex", *(_trex(track.header) for track in tracks))
    scale = movie_timescale([track.header.timescale for track in tracks])
    return box(b"moov", _mvhd(facts, scale, 0, tracks), *traks, mvex, _note(facts, zero_s))


class Movie:
    """The `moov` of a finished file. All but the chunk offsets, which depend on the shift, is made once.

    `shown` is where on the stream's timeline the presentation begins and ends, None for an end of its own; by
    default all is shown, from where `zero_time_s` says.
    """

    def __init__(
        self,
        tracks: Sequence[TrackIndex],
        facts: MovieFacts,
        shown: tuple[Fraction | None, Fraction | None] = (None, None),
    ) -> None:
        self.tracks = [track for track in tracks if track.samples] or list(tracks)
        self._facts = facts
        begin_s, self._end_s = shown
        self._scale = movie_timescale([track.header.timescale for track in self.tracks])
        self._zero_s = zero_time_s(self.tracks) if begin_s is None else begin_s
        self.tracks = [_from_zero(track, self._zero_s) for track in self.tracks]
        self._edits = [self._edit(track) for track in self.tracks]
        self._tables = [_sample_tables(track) for track in self.tracks]

    def _edit(self, track: TrackIndex) -> Edit:
        if not track.samples:
            return Edit(0, 0, 0)
        return edit_of(track, self._zero_s, self._scale, self._end_s)

    @property
    def duration_s(self) -> Fraction:
        """From time 0 to the end of the longest track."""
        return Fraction(max((edit.end for edit in self._edits), default=0), self._scale)

    def serialize(self, shift: int = 0) -> bytes:
        """The box, with every chunk `shift` bytes behind where the index has it."""
        traks = [self._trak(position, shift) for position in range(len(self.tracks))]
        duration = int(self.duration_s * self._scale)
        mvhd = _mvhd(self._facts, self._scale, duration, self.tracks)
        return box(b"moov", mvhd, *traks, _note(self._facts, self._zero_s))

    def _trak(self, position: int, shift: int) -> bytes:
        track, edit = self.tracks[position], self._edits[position]
        media_duration = track.end_dts - track.first_dts
        tables = (*self._tables[position], _chunk_offsets(track.chunk_offsets, shift), *_roll_groups(track))
        return _trak(
            track.header,
            self._facts,
            _is_first_of_kind(track, self.tracks),
            edit.end,
            media_duration,
            _edts(edit) if edit.is_needed or self._end_s is not None else b"",
            tables,
        )


def _from_zero(track: TrackIndex, zero_s: Fraction) -> TrackIndex:
    """A data track without messages before time 0: an edit list that begins within one confuses players."""
    zero = ticks_at(zero_s, track.header.timescale)
    if track.header.kind is not Kind.DATA or not track.samples or track.first_dts >= zero:
        return track
    times = accumulate(track.deltas, initial=track.first_dts)
    # One tick apart: no two samples have the same time.
    moved = [max(time, zero + number) for number, time in enumerate(times)]
    late = track.copy()
    late.deltas = array("I", map(sub, moved[1:], moved))
    late.first_dts = late.first_pts = moved[0]
    late.last_dts = moved[-1]
    return late


def _is_first_of_kind(track: TrackIndex, tracks: Sequence[TrackIndex]) -> bool:
    return next(other for other in tracks if other.header.kind is track.header.kind) is track


# --- headers ------------------------------------------------------------------------------------------------


def _times(facts: MovieFacts, duration: int, middle: bytes, after: bytes = b"") -> tuple[int, bytes]:
    """Version and body of mvhd, tkhd and mdhd: times, `middle`, `after`, duration; 64 bits when needed."""
    created = mac_time_s(facts.creation_ns)
    is_long = duration > U32_MAX or created > U32_MAX
    times = struct.pack(">QQ" if is_long else ">II", created, created)
    return int(is_long), times + middle + after + struct.pack(">Q" if is_long else ">I", duration)


def _mvhd(facts: MovieFacts, scale: int, duration: int, tracks: Sequence[TrackIndex]) -> bytes:
    version, times = _times(facts, duration, struct.pack(">I", scale))
    next_number = max((track.header.number for track in tracks), default=0) + 1
    return full_box(
        b"mvhd",
        version,
        0,
        times,
        struct.pack(">IH10x", 0x10000, 0x100),
        _MATRIX,
        bytes(24),
        struct.pack(">I", next_number),
    )


def _trak(
    header: TrackHeader,
    facts: MovieFacts,
    is_default: bool,
    movie_duration: int,
    media_duration: int,
    edits: bytes,
    tables: Sequence[bytes],
) -> bytes:
    stsd = table(b"stsd", 0, len(header.entries), *stored_entries(header.entries))
    data_here = box(b"dinf", table(b"dref", 0, 1, full_box(b"url ", 0, 1)))
    minf = box(b"minf", _MEDIA_HEADERS[header.kind], data_here, box(b"stbl", stsd, *tables))
    version, times = _times(facts, media_duration, struct.pack(">I", header.timescale))
    mdhd = full_box(b"mdhd", version, 0, times, struct.pack(">HH", _UNDETERMINED, 0))
    tkhd = _tkhd(header, facts, is_default, movie_duration)
    return box(b"trak", tkhd, edits, box(b"mdia", mdhd, _hdlr(header), minf))


def _tkhd(header: TrackHeader, facts: MovieFacts, is_default: bool, duration: int) -> bytes:
    version, times = _times(facts, duration, struct.pack(">II", header.number, 0))
    group, volume = (1, 0x100) if header.kind is Kind.AUDIO else (0, 0)
    size = struct.pack(">II", header.width << 16, header.height << 16)
    # In the movie always; enabled is what a player shows without being asked: the first of each kind.
    flags = 3 if is_default else 2
    return full_box(
        b"tkhd", version, flags, times, struct.pack(">8xHHHH", 0, group, volume, 0), _MATRIX, size
    )


def _hdlr(header: TrackHeader) -> bytes:
    name = f"Aircheck {header.kind}\0".encode()
    return full_box(b"hdlr", 0, 0, bytes(4), _HANDLERS[header.kind], bytes(12), name)


def _trex(header: TrackHeader) -> bytes:
    flags = OTHER_SAMPLE if header.is_video else SYNC_SAMPLE
    return full_box(b"trex", 0, 0, struct.pack(">5I", header.number, 1, 0, 0, flags))


def _note(facts: MovieFacts, zero_s: Fraction) -> bytes:
    fields = NOTE_FIELDS.pack(0, facts.origin_ms, round(zero_s * 1_000_000))
    return box(b"uuid", NOTE_UUID, fields, facts.note)


def _edts(edit: Edit) -> bytes:
    entries = [(edit.empty, -1)] if edit.empty else []
    entries.append((edit.duration, edit.media_time))
    is_long = max(edit.empty, edit.duration) > U32_MAX or edit.media_time > U32_MAX >> 1
    entry = struct.Struct(">QqI" if is_long else ">IiI")
    rows = [entry.pack(duration, media_time, _NORMAL_RATE) for duration, media_time in entries]
    elst = full_box(b"elst", int(is_long), 0, struct.pack(">I", len(rows)), *rows)
    return box(b"edts", elst)


# --- sample tables ------------------------------------------------------------------------------------------


def run_lengths(values: array[int]) -> tuple[array[int], array[int]]:
    """Where each run of equal values begins, and the value it has."""
    if not values:
        return array("I"), array("I")
    starts = array("I", [0])
    starts.extend(compress(range(1, len(values)), map(ne, values, islice(values, 1, None))))
    return starts, array("I", map(values.__getitem__, starts))


def _is_restless(values: array[int]) -> bool:
    """Whether nearly every value differs from the last: finding runs would cost time and save nothing."""
    sample = values[:_RESTLESS_SAMPLE]
    return len(run_lengths(sample)[0]) > _RESTLESS_SHARE * len(sample)


def _counted(kind: bytes, values: array[int]) -> bytes:
    """A table of (count, value): stts and ctts."""
    if _is_restless(values):
        ones = array("I", [1]) * len(values)
        return table(kind, 0, len(values), big_endian(interleave((ones, values))))
    starts, runs = run_lengths(values)
    counts = array("I", map(sub, [*starts[1:], len(values)], starts))
    return table(kind, 0, len(runs), big_endian(interleave((counts, runs))))


def _sample_tables(track: TrackIndex) -> tuple[bytes, ...]:
    """All tables of the samples: durations, composition, key frames, chunks and sizes."""
    deltas = track.deltas[:]
    if track.samples:
        deltas.append(max(0, track.last_duration))
    tables = [_counted(b"stts", deltas)]
    if track.composition:
        tables.append(_counted(b"ctts", track.composition))
    if track.header.is_video and len(track.sync) != track.samples:
        tables.append(table(b"stss", 0, len(track.sync), big_endian(track.sync[:])))
    tables.append(_samples_to_chunks(track))
    sizes = big_endian(track.sizes[:])
    tables.append(full_box(b"stsz", 0, 0, struct.pack(">II", 0, track.samples), sizes))
    return tuple(tables)


def _samples_to_chunks(track: TrackIndex) -> bytes:
    """stsc: where the samples of a chunk become more or fewer, or are encoded by another sample entry."""
    starts, counts = run_lengths(track.chunk_samples)
    entries = array("I", [1]) * len(counts)
    if track.chunk_entries:
        starts = array("I", sorted({*starts, *run_lengths(track.chunk_entries)[0]}))
        counts = array("I", map(track.chunk_samples.__getitem__, starts))
        entries = array("I", (track.chunk_entries[start] + 1 for start in starts))
    first_chunks = array("I", map((1).__add__, starts))
    return table(b"stsc", 0, len(counts), big_endian(interleave((first_chunks, counts, entries))))


def _chunk_offsets(offsets: array[int], shift: int) -> bytes:
    is_long = bool(offsets) and offsets[-1] + shift > U32_MAX
    values = map(shift.__add__, offsets) if shift else offsets
    column = big_endian(array("Q" if is_long else "I", values))
    return table(b"co64" if is_long else b"stco", 0, len(offsets), column)


def roll_distance(header: TrackHeader, frame_ticks: int) -> int:
    """How many frames before a seek point a decoder must begin (14496-12, 10.1): AAC and Opus."""
    match header.codec:
        case Codec.AAC:
            return 1
        case Codec.OPUS:
            return -(-_OPUS_PREROLL_MS * header.timescale // 1000 // max(1, frame_ticks))
        case _:
            return 0


def _roll_groups(track: TrackIndex) -> tuple[bytes, ...]:
    distance = roll_distance(track.header, track.deltas[0] if track.deltas else track.last_duration)
    if not distance:
        return ()
    description = full_box(b"sgpd", 1, 0, b"roll", struct.pack(">IIh", 2, 1, -min(distance, 0x7FFF)))
    members = full_box(b"sbgp", 0, 0, b"roll", struct.pack(">III", 1, track.samples, 1))
    return description, members
