"""The sample index out of a final file's `moov`: what reading its fragments would give, much sooner."""

from __future__ import annotations

from array import array
from itertools import pairwise

from aircheck.containers.mp4.boxes import Span, children, find
from aircheck.containers.mp4.disk import Disk
from aircheck.containers.mp4.index import TrackHeader, TrackIndex
from aircheck.containers.mp4.scan import Contents, Moov, Outline, index_fragment

_FIRST_FRAGMENTS = 64
"""Nearly always all tracks begin in the first one or two."""

_Tables = dict[bytes, Span]


def read_final_index(disk: Disk, final: Moov, file: Outline) -> Contents | None:
    """The contents of a final file, which is `file` as a fragmented one; None when the index does not tell.

    A `moov` has no decoding times, only steps: where they begin is in the first fragments. Raises OSError,
    and what damage makes parsing raise.
    """
    assert file.moov is not None
    indexes = {header.number: _read_track(final.data, trak, header) for trak, header in final.traks}
    begins = _read_begins(disk, file, {number for number, index in indexes.items() if index.samples})
    if begins is None:
        return None
    tracks = []
    for _, header in file.moov.traks:
        index = indexes.get(header.number)
        if index is None or not index.samples:
            index = TrackIndex(header)
        elif begins[header.number].chunk_offsets[0] != index.chunk_offsets[0]:
            return None
        else:
            _begin_at(index, begins[header.number].first_dts)
        tracks.append(index)
    return Contents(tracks, file.moov.facts, file.size_bytes)


def _read_begins(disk: Disk, file: Outline, wanted: set[int]) -> dict[int, TrackIndex] | None:
    """An index of the first fragments, in which all of these tracks begin; None when they do not."""
    assert file.moov is not None
    begins = {header.number: TrackIndex(header) for _, header in file.moov.traks}
    offset = file.media
    for _ in range(_FIRST_FRAGMENTS):
        size = index_fragment(disk, offset, file.size_bytes, file.moov.facts.origin_ms, begins)
        if not size:
            return None
        if all(number in begins and begins[number].samples for number in wanted):
            return begins
        offset += size
    return None


def _begin_at(index: TrackIndex, first_dts: int) -> None:
    index.first_dts = first_dts
    index.last_dts = first_dts + sum(index.deltas)
    index.first_pts = first_dts + _composition(index, 0)
    if index.sync:
        position = index.sync[0] - 1
        index.first_key_pts = first_dts + sum(index.deltas[:position]) + _composition(index, position)


def _composition(index: TrackIndex, position: int) -> int:
    return index.composition[position] if index.composition else 0


def _read_track(moov: bytes, trak: Span, header: TrackHeader) -> TrackIndex:
    """All but where its time begins."""
    stbl = find(moov, trak.body, trak.end, b"mdia", b"minf", b"stbl")
    if stbl is None:
        raise ValueError("a track without sample tables")
    tables = {span.kind: span for span in children(moov, stbl.body, stbl.end)}
    sizes = _column(moov, tables[b"stsz"], 12)
    index = TrackIndex(header, sizes, size_bytes=sum(sizes))
    if not sizes:
        return index
    index.deltas = _counted(moov, tables[b"stts"], len(sizes))
    index.last_duration = index.deltas.pop()
    if b"ctts" in tables:
        index.composition = _counted(moov, tables[b"ctts"], len(sizes))
    if header.is_video:
        has_keys = b"stss" in tables
        index.sync = _column(moov, tables[b"stss"]) if has_keys else array("I", range(1, len(sizes) + 1))
    index.chunk_offsets = array("Q", _chunk_offsets(moov, tables))
    index.chunk_samples = _per_chunk(moov, tables, 1, len(index.chunk_offsets))
    entries = _per_chunk(moov, tables, 2, len(index.chunk_offsets))
    if not 0 < min(entries) <= max(entries) <= len(header.entries):
        raise ValueError("samples of a sample entry that there is not")
    if max(entries) > 1:
        index.chunk_entries = array("I", map((-1).__add__, entries))
    if sum(index.chunk_samples) != len(sizes):
        raise ValueError("chunks and samples do not agree")
    return index


def _column(moov: bytes, table: Span, skip: int = 8) -> array[int]:
    words = array("I", moov[table.body + skip : table.end])
    words.byteswap()
    return words


def _counted(moov: bytes, table: Span, samples: int) -> array[int]:
    """The values of stts or ctts, one for each sample."""
    words = _column(moov, table)
    counts, runs = words[::2], words[1::2]
    values = array("I")
    if len(runs) == samples:
        values = runs
    else:
        for count, value in zip(counts, runs, strict=True):
            values.extend(array("I", [value]) * count)
    if len(values) != samples or sum(counts) != samples:
        raise ValueError("a table that does not fit the samples")
    return values


def _chunk_offsets(moov: bytes, tables: _Tables) -> array[int]:
    if b"stco" in tables:
        return _column(moov, tables[b"stco"])
    table = tables[b"co64"]
    offsets = array("Q", moov[table.body + 8 : table.end])
    offsets.byteswap()
    return offsets


def _per_chunk(moov: bytes, tables: _Tables, column: int, chunks: int) -> array[int]:
    """A column of stsc, for each chunk: samples (1) or number of the sample entry (2)."""
    words = _column(moov, tables[b"stsc"])
    starts, values = [*words[::3], chunks + 1], words[column::3]
    result = array("I")
    for (start, end), value in zip(pairwise(starts), values, strict=True):
        result.extend(array("I", [value]) * (end - start))
    return result
