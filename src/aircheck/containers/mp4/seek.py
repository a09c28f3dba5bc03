"""Finding a time in one of our MP4 files, finished, growing or torn, without reading its index.

The fragments of a file stay where they were written, also in a finished one: inside its `mdat`. Each tells
its time. So a place is found by looking at a few fragments, as in a dictionary, and then only the fragments
that are wanted are read, whatever the length of the file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from aircheck.containers.mp4.boxes import parse_header
from aircheck.containers.mp4.disk import Disk
from aircheck.containers.mp4.index import Run, TrackHeader, TrackIndex
from aircheck.containers.mp4.layout import FREE_OFFSET
from aircheck.containers.mp4.scan import (
    DAMAGE,
    MOOF_START,
    Condition,
    Outline,
    outline,
    parse_runs,
    reopened,
    whole_fragment,
)
from aircheck.containers.mp4.timeline import zero_time_s

_SEARCH_BYTES = 64 * 1024
_FIRST_FRAGMENTS = 4
"""Where a file's time 0 lies is settled by the first pictures and the first sound."""
_NEAR_S = Fraction(2)
"""So near before a time one goes on from fragment to fragment."""
_MAX_PROBES = 64
_MVHD_BYTES = 48


@dataclass(frozen=True, slots=True)
class Fragment:
    """Where a fragment lies, and its runs: of which track, the samples, the place of the first."""

    offset: int
    end: int
    runs: tuple[tuple[TrackHeader, Run, int], ...]

    @property
    def first_s(self) -> Fraction:
        """The earliest decoding time in it, on the stream's timeline."""
        return min(Fraction(run.first_dts, header.timescale) for header, run, _ in self.runs)


class FragmentReader:
    """The fragments of one file of ours. Times are seconds on the stream's own timeline."""

    def __init__(self, disk: Disk, file: Outline) -> None:
        assert file.moov is not None
        self.disk = disk
        self.facts = file.moov.facts
        self.headers = tuple(header for _, header in file.moov.traks)
        self._media = file.media
        self._size = file.size_bytes
        disk.expect_random_reads()
        self.zero_s = self._zero_s()
        """The file's time 0."""

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[FragmentReader | None]:
        """None for a file that does not consist of our fragments. Raises OSError."""
        disk = Disk.open(path, writable=False)
        try:
            file = _fragments_of(disk)
            yield None if file is None or file.moov is None else cls(disk, file)
        finally:
            disk.close()

    def find_end(self) -> Fraction:
        """Where the longest track ends. Reads the last fragments."""
        hint = Fraction(_SEARCH_BYTES)
        while True:
            start = max(self._media, self._size - int(hint))
            fragments = list(self.walk(self._search(start, self._size) or self._size))
            if fragments or start == self._media:
                break
            hint *= 4
        ends = [self.zero_s]
        for fragment in fragments:
            for header, run, offset in fragment.runs:
                track = TrackIndex(header)
                track.append(run, offset)
                ends.append(Fraction(track.end_pts, header.timescale))
        return max(ends)

    def walk(self, offset: int | None = None) -> Iterator[Fragment]:
        """The fragments from byte `offset` on, from the first on if it is None. Damage is passed over."""
        place = self._media if offset is None else offset
        while place < self._size:
            fragment = self._at(place)
            if fragment is None:
                place = self._search(place + 1, self._size)
                if not place:
                    return
                continue
            yield fragment
            place = fragment.end

    def find(self, time_s: Fraction) -> int:
        """The place of the last fragment that begins at `time_s` or before; of the first if there is none."""
        low, high = self._media, self._size
        low_s, high_s = self.zero_s, self._final_end_s()
        for _ in range(_MAX_PROBES):
            if time_s - low_s <= _NEAR_S or high - low <= _SEARCH_BYTES:
                break
            fragment = self._probe(_guess(low, high, low_s, high_s, time_s), high)
            if fragment is None:
                high = _guess(low, high, low_s, high_s, time_s)
                high_s = None
            elif fragment.first_s <= time_s:
                if fragment.offset == low:
                    break
                low, low_s = fragment.offset, fragment.first_s
            else:
                high, high_s = fragment.offset, fragment.first_s
        return self._go_on(low, time_s)

    def _go_on(self, place: int, time_s: Fraction) -> int:
        for fragment in self.walk(place):
            if fragment.first_s > time_s:
                break
            place = fragment.offset
        return place

    def _probe(self, offset: int, end: int) -> Fragment | None:
        """The first whole fragment that begins in [offset, end)."""
        while offset:
            offset = self._search(offset, end)
            if offset and (fragment := self._at(offset)) is not None:
                return fragment
            offset += bool(offset)
        return None

    def _search(self, offset: int, end: int) -> int:
        """Where the next `moof` of ours seems to begin in [offset, end); 0 when there is none."""
        while offset < end:
            data = self.disk.read(offset, min(_SEARCH_BYTES, end - offset) + 4 + len(MOOF_START))
            # Its size comes before: four bytes that may be anything.
            found = data.find(MOOF_START, 4)
            if found >= 0:
                return offset + found - 4
            offset += _SEARCH_BYTES
        return 0

    def _at(self, offset: int) -> Fragment | None:
        found = whole_fragment(self.disk, offset, self._size)
        if found is None:
            return None
        moof, size = found
        tracks = {header.number: TrackIndex(header) for header in self.headers}
        try:
            runs = tuple(
                (track.header, run, place)
                for track, run, place in parse_runs(moof, offset, self.facts.origin_ms, tracks)
            )
        except DAMAGE:
            return None
        if not runs or sum(run.size_bytes for _, run, _ in runs) != size - len(moof) - 8:
            return None
        return Fragment(offset, offset + size, runs)

    def _zero_s(self) -> Fraction:
        tracks = {header.number: TrackIndex(header) for header in self.headers}
        for _, fragment in zip(range(_FIRST_FRAGMENTS), self.walk(), strict=False):
            for header, run, offset in fragment.runs:
                tracks[header.number].append(run, offset)
        return zero_time_s(list(tracks.values()))

    def _final_end_s(self) -> Fraction | None:
        """Where a finished file ends, by the duration that its `mvhd` tells; to guess places by."""
        head = self.disk.read(FREE_OFFSET + 16, _MVHD_BYTES)
        if head[4:8] != b"mvhd":
            return None
        layout = ">IQ" if head[8] else ">II"
        scale, duration = struct.unpack_from(layout, head, 28 if head[8] else 20)
        return self.zero_s + Fraction(duration, scale) if scale and duration else None


def _guess(low: int, high: int, low_s: Fraction, high_s: Fraction | None, time_s: Fraction) -> int:
    """A place between: where the time should be if the bit rate were constant, else half-way."""
    if high_s is None or high_s <= low_s:
        return (low + high) // 2
    share = (time_s - _NEAR_S / 2 - low_s) / (high_s - low_s)
    # Never at the ends: each look must exclude something.
    share = min(max(share, Fraction(1, 64)), Fraction(63, 64))
    return low + int((high - low) * share)


def _fragments_of(disk: Disk) -> Outline | None:
    """Like `outline`, but of a finished file the `moov` is passed over: it may be large."""
    first = parse_header(disk.read(FREE_OFFSET, 16))
    if first is None or first[:2] != (8, b"free"):
        file = outline(disk)
        return file if file.condition is Condition.FRAGMENTED else None
    offset, size = FREE_OFFSET + 8, disk.size_bytes
    while (header := parse_header(disk.read(offset, 16))) is not None and header[0]:
        if header[1] == b"mdat":
            return reopened(disk, Outline(Condition.FINAL, size, offset + header[2]))
        offset += header[0]
    return None
