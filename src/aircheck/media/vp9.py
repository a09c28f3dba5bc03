"""VP9: the uncompressed header of a key frame (VP9 specification, 6.2) and `vpcC` (VP codec ISO binding)."""

from __future__ import annotations

from dataclasses import dataclass

from aircheck.media.bits import BitReader, BitstreamError
from aircheck.media.packet import Payload

_SYNC_CODE = 0x498342
_COLOR_SPACE_RGB = 7
FULL_BOX_HEADER = b"\x01\0\0\0"
"""Version 1 and no flags: what `vpcC` has before its payload."""

_LEVELS = (
    (36864, 10),
    (73728, 11),
    (122880, 20),
    (245760, 21),
    (552960, 30),
    (983040, 31),
    (2228224, 40),
    (8912896, 50),
    (35651584, 60),
)
"""Largest picture in luma samples, and ten times the level that allows it."""

_MATRIX = {1: (5, 6, 6), 2: (1, 1, 1), 3: (6, 6, 6), 4: (7, 7, 7), 5: (9, 14, 9), 7: (1, 13, 0)}
"""Colour primaries, transfer and matrix (ISO/IEC 23091-2) by VP9's colour space."""


@dataclass(frozen=True, slots=True)
class KeyFrameHeader:
    profile: int
    bit_depth: int
    color_space: int
    is_full_range: bool
    chroma_subsampling: int
    """As `vpcC` numbers it: 1 is 4:2:0, 2 is 4:2:2, 3 is 4:4:4."""
    width: int
    height: int


def parse_frame_header(frame: Payload) -> KeyFrameHeader:
    """Read a key frame's header. Raises BitstreamError for anything else."""
    bits = BitReader(frame)
    if bits.read(2) != 2:
        raise BitstreamError("no VP9 frame")
    profile = bits.read(1) | bits.read(1) << 1
    if profile == 3:
        bits.skip(1)
    shows_existing, is_inter = bits.read_flag(), bits.read_flag()
    bits.skip(2)  # show_frame, error_resilient_mode
    if shows_existing or is_inter or bits.read(24) != _SYNC_CODE:
        raise BitstreamError("no VP9 key frame")
    depth = 8 if profile < 2 else 12 if bits.read_flag() else 10
    color_space = bits.read(3)
    is_full_range, subsampling = _read_sampling(bits, profile, color_space)
    width, height = bits.read(16) + 1, bits.read(16) + 1
    return KeyFrameHeader(profile, depth, color_space, is_full_range, subsampling, width, height)


def _read_sampling(bits: BitReader, profile: int, color_space: int) -> tuple[bool, int]:
    if color_space == _COLOR_SPACE_RGB:
        if profile & 1:
            bits.skip(1)
        return True, 3
    is_full_range, halves_x, halves_y = bits.read_flag(), 1, 1
    if profile & 1:
        halves_x, halves_y = bits.read(1), bits.read(1)
        bits.skip(1)
    return is_full_range, {(1, 1): 1, (1, 0): 2}.get((halves_x, halves_y), 3)


def is_keyframe(frame: Payload) -> bool:
    try:
        parse_frame_header(frame)
    except BitstreamError:
        return False
    return True


def build_config(header: KeyFrameHeader) -> bytes:
    """The payload of `vpcC` after version and flags; the level follows from the size of the picture."""
    size = header.width * header.height
    level = next((level for limit, level in _LEVELS if size <= limit), 62)
    depth = header.bit_depth << 4 | header.chroma_subsampling << 1 | header.is_full_range
    return bytes((header.profile, level, depth, *_MATRIX.get(header.color_space, (2, 2, 2)), 0, 0))


def strip_full_box_header(record: Payload) -> bytes:
    """A configuration without the version and flags that Enhanced RTMP's publishers put before it."""
    body = bytes(record).removeprefix(FULL_BOX_HEADER) if len(record) >= 12 else bytes(record)
    if len(body) < 8:
        raise BitstreamError(f"a VP9 configuration of {len(body)} bytes")
    return body
