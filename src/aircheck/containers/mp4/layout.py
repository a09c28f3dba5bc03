"""Where things lie in our files.

Growing:   ftyp | free[...]                       | init area | (moof mdat)*
Finished:  ftyp | free[8] | moov | free | mdat[…  the same bytes, unmoved  …]

The init area begins at a multiple of 4 KiB and holds the init `moov` and room for later versions of it. All
before it is the *header area*: its `free` box is the reserve in which the final `moov` will stand. When that
outgrows it, the area grows by steps that double it, each the size of one INSERT_RANGE.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from aircheck.containers.mp4.boxes import HEADER, HEADER64, U32_MAX, box
from aircheck.containers.mp4.disk import BLOCK
from aircheck.containers.mp4.movie import Movie

FTYP = box(b"ftyp", b"isom", b"\0\0\2\0", b"isom", b"iso2", b"iso6", b"mp41")
FREE_OFFSET = len(FTYP)
"""Where the reserve's `free` box begins: 8-byte aligned, so that its header is written in one piece."""

_MDAT_HEADER = 16
_INIT_VERSIONS = 3
"""As a new one is written beside the one that is valid, in front of it or behind."""
_INIT_SLACK = 2048
CHANGES_BYTES = 4096
"""Room for sample entries of tracks whose pictures change: more than twenty of H.264."""


def align(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def free_header(size: int) -> bytes:
    return HEADER.pack(size, b"free")


def header_area(reserve_bytes: int) -> int:
    """Size of the header area: whole blocks, at least two, at most what a 32-bit `free` box can span."""
    return min(max(2 * BLOCK, align(FREE_OFFSET + 8 + reserve_bytes)), U32_MAX // BLOCK * BLOCK)


def init_area(moov_size: int, wanted_bytes: int = 0) -> int:
    """Size of the init area: room for later versions of the init `moov`, at least what is wanted."""
    return align(max(_INIT_VERSIONS * moov_size + _INIT_SLACK, wanted_bytes) + _INIT_VERSIONS * CHANGES_BYTES)


def grown(area: int) -> int:
    """The next larger header area: all but its first block doubled."""
    return area + growth_step(area)


def growth_step(area: int) -> int:
    return area - BLOCK


def padded_init(moov: bytes, area: int) -> bytes:
    """The init area: `moov` and a `free` box for the rest, which is at least 8 bytes."""
    rest = area - len(moov)
    return moov + free_header(rest) + bytes(rest - 8)


@dataclass(frozen=True, slots=True)
class Header:
    """The header area of a finished file: ftyp, free[8], moov, free, and an mdat that covers the rest."""

    moov: bytes
    size: int
    media_bytes: int

    @property
    def padding(self) -> bytes:
        """Header of the `free` box behind `moov`; empty when that fits exactly."""
        rest = _room(self.size) - len(self.moov)
        return free_header(rest) if rest else b""

    @property
    def mdat(self) -> bytes:
        return HEADER64.pack(1, b"mdat", self.media_bytes + _MDAT_HEADER)

    @property
    def mdat_offset(self) -> int:
        return self.size - _MDAT_HEADER

    def serialize(self) -> bytes:
        start = FTYP + free_header(8) + self.moov + self.padding
        return start + bytes(self.mdat_offset - len(start)) + self.mdat


def _room(area: int) -> int:
    """Bytes for `moov` and its padding."""
    return area - FREE_OFFSET - 8 - _MDAT_HEADER


def compose_header(movie: Movie, area: int, end: int) -> Header:
    """The header of a file whose header area is `area` and whose last fragment ends at `end`."""
    size = area
    while True:
        moov = movie.serialize(size - area)
        rest = _room(size) - len(moov)
        if rest == 0 or rest >= 8:
            return Header(moov, size, end - area)
        size = grown(size)
        while _room(size) < len(moov):
            size = grown(size)


@dataclass(frozen=True, slots=True)
class VirtualFile:
    """A growing file as the progressive file it will be: `header`, then path[start:end].

    Byte n of the virtual file is header[n], or from len(header) on byte start + n - len(header) of `path`.
    Offsets never change while the file grows nor when it is finalized, as long as `layout_tag` stays the
    same. `epoch` is the writer's at that moment: when the writer's has changed, `start` may no longer hold
    (see `Mp4Writer.epoch`).
    """

    header: bytes
    path: Path
    start: int
    end: int
    layout_tag: str
    epoch: int = 0

    @property
    def size_bytes(self) -> int:
        return len(self.header) + self.end - self.start
