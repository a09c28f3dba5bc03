"""Reading one of our files back: box headers and `moof`s only, never the media."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from aircheck.containers.mp4.boxes import U32_MAX, Span, children, find, parse_header, unix_time_ns
from aircheck.containers.mp4.disk import Disk
from aircheck.containers.mp4.fragment import (
    TFHD_BASE_IS_MOOF,
    TFHD_ENTRY,
    TFHD_FLAGS_OFFSET,
    TRAF,
    TRAF_OF_ENTRY,
    TRUN_COMPOSITION,
    TRUN_DATA_OFFSET,
    TRUN_DURATION,
    TRUN_FLAGS,
    TRUN_SIZE,
)
from aircheck.containers.mp4.index import Run, TrackHeader, TrackIndex
from aircheck.containers.mp4.layout import FREE_OFFSET, FTYP, growth_step
from aircheck.containers.mp4.movie import NOTE_FIELDS, NOTE_UUID, SYNC_SAMPLE, MovieFacts
from aircheck.containers.mp4.sample_entry import plain_entry

Progress = Callable[[int, int], None]
"""Called now and then with the bytes looked at and the bytes there are."""

DAMAGE = (ValueError, KeyError, IndexError, OverflowError, struct.error)
"""What parsing bytes that are not as we wrote them may raise."""

_MAX_MOOV = 1 << 30
_MAX_INIT = 256 << 10
_SEARCH_BYTES = 1 << 20
MOOF_START = b"moof\0\0\0\x10mfhd"
_MAX_MOOF = 64 << 20
_PEEK = 2048
_PROGRESS_FRAGMENTS = 256
_ROW_FLAGS = TRUN_DURATION | TRUN_SIZE | TRUN_FLAGS | TRUN_COMPOSITION


class Condition(StrEnum):
    FOREIGN = "foreign"
    """Not ours."""
    EMPTY = "empty"
    """Ours, but no fragment is whole (or not even the init segment)."""
    FRAGMENTED = "fragmented"
    """Growing, or left by a crash."""
    FINAL = "final"


@dataclass(frozen=True, slots=True)
class Moov:
    """A `moov` that could be parsed: its bytes, facts, and each track's box and header."""

    data: bytes
    facts: MovieFacts
    has_note: bool
    traks: tuple[tuple[Span, TrackHeader], ...]


@dataclass(frozen=True, slots=True)
class Outline:
    """Where the parts of a file are. `area` is the size of the header area, `media` where fragments begin.

    `init` is where the init `moov` of a fragmented file is.
    `has_helper` says that a crash struck between two steps of growing the header area; `is_torn` that a final
    file lacks its end.
    """

    condition: Condition
    size_bytes: int
    area: int = 0
    media: int = 0
    moov: Moov | None = None
    has_helper: bool = False
    is_torn: bool = False
    init: int = 0


@dataclass(slots=True)
class Contents:
    """What the fragments hold: an index of all whole ones, and where the last of them ends."""

    tracks: list[TrackIndex]
    facts: MovieFacts
    end: int
    skipped: int = 0
    """Damaged bytes between whole fragments."""

    @property
    def has_samples(self) -> bool:
        return any(track.samples for track in self.tracks)


def _box_at(disk: Disk, offset: int) -> tuple[int, bytes, int] | None:
    """Size, kind and header length of the box at `offset`; None when there is none."""
    return parse_header(disk.read(offset, 16))


def media_offset(disk: Disk) -> int:
    """Where the first fragment begins, behind all headers; 0 when the file is not ours."""
    if disk.read(0, FREE_OFFSET) != FTYP:
        return 0
    offset = FREE_OFFSET
    while (header := _box_at(disk, offset)) is not None and header[1] != b"moof":
        size, kind, body = header
        offset += body if kind == b"mdat" else size or disk.size_bytes
    return offset


def outline(disk: Disk) -> Outline:
    """What kind of file this is. Reads a few headers and the `moov`."""
    size = disk.size_bytes
    foreign = Outline(Condition.FOREIGN, size)
    start = disk.read(0, FREE_OFFSET + 8)
    if FTYP.startswith(start) or (start[:FREE_OFFSET] == FTYP and not any(start[FREE_OFFSET:])):
        # Less than our first write: a crash in the first instant.
        return Outline(Condition.EMPTY, size)
    first = parse_header(start, FREE_OFFSET)
    if start[:FREE_OFFSET] != FTYP or first is None or first[1] != b"free":
        return foreign
    if first[0] == 8:
        return _outline_final(disk, size) or foreign
    return _outline_fragmented(disk, FREE_OFFSET + first[0], size)


def _outline_final(disk: Disk, size: int) -> Outline | None:
    moov_offset = FREE_OFFSET + 8
    moov = _read_moov(disk, moov_offset, size)
    if moov is None:
        return None
    offset = moov_offset + len(moov.data)
    header = _box_at(disk, offset)
    if header is not None and header[1] == b"free":
        offset += header[0]
        header = _box_at(disk, offset)
    if header is None or header[1:] != (b"mdat", 16):
        return None
    is_torn = offset + header[0] > size
    return Outline(Condition.FINAL, size, offset + 16, 0, moov, is_torn=is_torn)


def _outline_fragmented(disk: Disk, area: int, size: int) -> Outline:
    header = _box_at(disk, area)
    has_helper = header is not None and header[1] == b"free" and header[0] == growth_step(area)
    if has_helper:
        area += growth_step(area)
    return _outline_init(disk, area, size, has_helper)


def _outline_init(disk: Disk, area: int, size: int, has_helper: bool) -> Outline:
    """The init area: one `moov`, with `free` boxes where older ones were and newer ones may come."""
    moov, offset, init = None, area, 0
    while (header := _box_at(disk, offset)) is not None and header[1] in (b"free", b"moov"):
        if header[1] == b"moov":
            moov, init = _read_moov(disk, offset, size), offset
        offset += header[0]
        if offset > size or not header[0]:
            break
    if moov is None:
        # Our layout without its init segment: a crash before there was any media, or damage since.
        is_young = size == FREE_OFFSET + 8 or 0 <= size - area <= _MAX_INIT
        return Outline(Condition.EMPTY if is_young else Condition.FOREIGN, size)
    return Outline(Condition.FRAGMENTED, size, area, offset, moov, has_helper, init=init)


def reopened(disk: Disk, final: Outline) -> Outline:
    """A final file as the fragmented one it was: its fragments are still there, inside `mdat`."""
    return _outline_init(disk, final.area, final.size_bytes, has_helper=False)


def _read_moov(disk: Disk, offset: int, size: int) -> Moov | None:
    """The `moov` at `offset`; None when it is not whole."""
    header = _box_at(disk, offset)
    if header is None or header[1] != b"moov" or not 8 < header[0] <= min(_MAX_MOOV, size - offset):
        return None
    try:
        return _parse_moov(disk.read(offset, header[0]))
    except DAMAGE:
        return None


# --- moov ---------------------------------------------------------------------------------------------------


def _parse_moov(moov: bytes) -> Moov:
    boxes = list(children(moov, 8, len(moov)))
    traks = tuple((span, _track_header(moov, span)) for span in boxes if span.kind == b"trak")
    notes = [span for span in boxes if moov[span.start + 4 : span.start + 24] == b"uuid" + NOTE_UUID]
    if len({header.number for _, header in traks}) != len(traks) or not traks:
        raise ValueError("tracks without number of their own")
    return Moov(moov, _parse_facts(moov, notes[0] if notes else None), bool(notes), traks)


def _parse_facts(moov: bytes, note: Span | None) -> MovieFacts:
    mvhd = find(moov, 8, len(moov), b"mvhd")
    if mvhd is None:
        raise ValueError("no mvhd")
    (created,) = struct.unpack_from(">Q" if moov[mvhd.body] else ">I", moov, mvhd.body + 4)
    if note is None:
        return MovieFacts(unix_time_ns(created), b"")
    _, origin_ms, start_us = NOTE_FIELDS.unpack_from(moov, note.body + 16)
    text = moov[note.body + 16 + NOTE_FIELDS.size : note.end]
    return MovieFacts(unix_time_ns(created), text, origin_ms, start_us)


def _track_header(moov: bytes, trak: Span) -> TrackHeader:
    tkhd = find(moov, trak.body, trak.end, b"tkhd")
    mdhd = find(moov, trak.body, trak.end, b"mdia", b"mdhd")
    stsd = find(moov, trak.body, trak.end, b"mdia", b"minf", b"stbl", b"stsd")
    if tkhd is None or mdhd is None or stsd is None:
        raise ValueError("a track without headers")
    (number,) = struct.unpack_from(">I", moov, tkhd.body + (20 if moov[tkhd.body] else 12))
    (timescale,) = struct.unpack_from(">I", moov, mdhd.body + (20 if moov[mdhd.body] else 12))
    entries = [
        plain_entry(moov[entry.start : entry.end]) for entry in children(moov, stsd.body + 8, stsd.end)
    ]
    if not entries or not number or not timescale:
        raise ValueError("a track without number, timescale or sample entry")
    return TrackHeader.parse(number, timescale, entries)


# --- fragments ----------------------------------------------------------------------------------------------


def read_contents(disk: Disk, file: Outline, progress: Progress | None = None) -> Contents:
    """Index all whole fragments of a fragmented file. Damage between them is skipped and counted."""
    assert file.moov is not None
    facts = file.moov.facts
    contents = Contents([TrackIndex(header) for _, header in file.moov.traks], facts, file.media)
    by_number = {track.header.number: track for track in contents.tracks}
    disk.expect_random_reads()
    offset, fragments = file.media, 0
    while True:
        size = index_fragment(disk, offset, file.size_bytes, facts.origin_ms, by_number)
        if size:
            contents.skipped += offset - contents.end
            offset += size
            contents.end = offset
        else:
            offset = _next_moof(disk, offset + 1, file.size_bytes)
            if not offset:
                return contents
        fragments += 1
        if progress is not None and fragments % _PROGRESS_FRAGMENTS == 0:
            progress(offset, file.size_bytes)


def index_fragment(
    disk: Disk, offset: int, file_size: int, origin_ms: int, tracks: dict[int, TrackIndex]
) -> int:
    """Add the fragment at `offset` to the index; its size, 0 when there is none that is whole."""
    fragment = whole_fragment(disk, offset, file_size)
    if fragment is None:
        return 0
    moof, size = fragment
    try:
        runs = list(parse_runs(moof, offset, origin_ms, tracks))
    except DAMAGE:
        return 0
    if sum(run.size_bytes for _, run, _ in runs) != size - len(moof) - 8:
        return 0
    for track, run, run_offset in runs:
        track.append(run, run_offset)
    return size


def _next_moof(disk: Disk, offset: int, file_size: int) -> int:
    """Where the next `moof` of ours seems to begin, from `offset` on; 0 when there is none."""
    while offset < file_size:
        data = disk.read(offset, _SEARCH_BYTES + 4 + len(MOOF_START))
        found = data.find(MOOF_START, 4)
        if found >= 0:
            return offset + found - 4
        offset += _SEARCH_BYTES
    return 0


def whole_fragment(disk: Disk, offset: int, file_size: int) -> tuple[bytes, int] | None:
    """The `moof` at `offset`, and the size of it with its `mdat`; None when any of that is missing."""
    head = disk.read(offset, _PEEK)
    header = parse_header(head)
    if header is None or header[1] != b"moof" or header[0] > _MAX_MOOF:
        return None
    moof_size = header[0]
    if moof_size + 8 > len(head):
        head += disk.read(offset + len(head), moof_size + 8 - len(head))
    mdat = parse_header(head, moof_size)
    if mdat is None or mdat[1] != b"mdat" or offset + moof_size + mdat[0] > file_size:
        return None
    return head[:moof_size], moof_size + mdat[0]


def parse_runs(
    moof: bytes, offset: int, origin_ms: int, tracks: dict[int, TrackIndex]
) -> Iterator[tuple[TrackIndex, Run, int]]:
    """The runs of a `moof` that `fragment.serialize_head` wrote. Raises when anything is different."""
    position = 24
    while position < len(moof):
        (tfhd_flags,) = struct.unpack_from(">I", moof, position + TFHD_FLAGS_OFFSET)
        layout, entry = TRAF, 1
        if tfhd_flags & TFHD_ENTRY:
            layout, (entry,) = TRAF_OF_ENTRY, struct.unpack_from(">I", moof, position + TFHD_FLAGS_OFFSET + 8)
        fields = layout.unpack_from(moof, position)
        size, traf, _, tfhd, base, number = fields[:6]
        tfdt, _, time, _, trun, flags, samples, data_offset = fields[-8:]
        kinds = (traf, tfhd, tfdt, trun)
        if (
            kinds != (b"traf", b"tfhd", b"tfdt", b"trun")
            or base & ~TFHD_ENTRY != TFHD_BASE_IS_MOOF
            or not samples
        ):
            raise ValueError("not a fragment of ours")
        rows = moof[position + layout.size : position + size]
        track = tracks[number]
        if not 0 < entry <= len(track.header.entries):
            raise ValueError("a fragment of a sample entry that there is not")
        run = _parse_rows(flags, samples, rows, time + track.header.origin_ticks(origin_ms), entry - 1)
        if track.samples and not 0 < run.first_dts - track.last_dts <= U32_MAX:
            raise ValueError("a fragment out of order")
        yield track, run, offset + data_offset
        position += size


def _parse_rows(flags: int, samples: int, rows: bytes, first_dts: int, entry: int) -> Run:
    width = (flags & _ROW_FLAGS).bit_count()
    always = TRUN_DATA_OFFSET | TRUN_DURATION | TRUN_SIZE
    if flags & ~_ROW_FLAGS | flags & always != always or len(rows) != 4 * width * samples:
        raise ValueError("not a run of ours")
    words = array("I", rows)
    words.byteswap()
    columns = iter([words[column::width] for column in range(width)])
    deltas, sizes = next(columns), next(columns)
    sync = []
    if flags & TRUN_FLAGS:
        sync = [position for position, value in enumerate(next(columns)) if value == SYNC_SAMPLE]
    composition = next(columns) if flags & TRUN_COMPOSITION else None
    last_duration = deltas.pop()
    return Run(first_dts, deltas, last_duration, sizes, composition, sync, sum(sizes), entry)
