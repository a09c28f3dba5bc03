"""H.264 (ISO/IEC 14496-10): parameter sets, NAL units and AVCDecoderConfigurationRecord (14496-15, 5.3.3)."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aircheck.media.bits import BitReader, BitstreamError, ByteReader, unescape
from aircheck.media.packet import Payload

NAL_SLICE = 1
NAL_IDR = 5
NAL_SEI = 6
NAL_SPS = 7
NAL_PPS = 8
NAL_AUD = 9

_PROFILES_WITH_CHROMA_FORMAT = frozenset((100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135))
_PROFILES_WITH_EXTENDED_RECORD = frozenset((100, 110, 122, 144))
_MAX_REFERENCE_FRAMES_IN_CYCLE = 255
_MAX_BIT_DEPTH = 14
_CROP_UNITS = {0: (1, 1), 1: (2, 2), 2: (2, 1), 3: (1, 1)}
"""Luma samples of one cropping unit, across and down, by chroma format (table 6-1)."""


@dataclass(frozen=True, slots=True)
class SequenceParameters:
    """What a recorder wants to know of a sequence parameter set; sizes are those shown, after cropping."""

    profile: int
    constraints: int
    level: int
    width: int
    height: int
    chroma_format: int = 1
    bit_depth_luma: int = 8
    bit_depth_chroma: int = 8


@dataclass(frozen=True, slots=True)
class AvcConfig:
    """An AVCDecoderConfigurationRecord."""

    profile: int
    constraints: int
    level: int
    nal_length_size: int
    sps: tuple[bytes, ...]
    pps: tuple[bytes, ...]


def parse_sps(nal_unit: Payload) -> SequenceParameters:
    """Read a sequence parameter set (7.3.2.1.1), NAL header included. Raises BitstreamError."""
    bits = BitReader(unescape(nal_unit))
    if bits.read(8) & 0x1F != NAL_SPS:
        raise BitstreamError("the NAL unit is no sequence parameter set")
    profile, constraints, level = bits.read(8), bits.read(8), bits.read(8)
    bits.read_ue()  # seq_parameter_set_id
    chroma, separate_planes, depth_luma, depth_chroma = 1, False, 8, 8
    if profile in _PROFILES_WITH_CHROMA_FORMAT:
        chroma = bits.read_ue()
        separate_planes = chroma == 3 and bits.read_flag()
        depth_luma, depth_chroma = 8 + bits.read_ue(), 8 + bits.read_ue()
        if chroma > 3 or max(depth_luma, depth_chroma) > _MAX_BIT_DEPTH:
            raise BitstreamError(f"chroma {chroma}, {depth_luma} bits of luma, {depth_chroma} of chroma")
        bits.skip(1)  # qpprime_y_zero_transform_bypass_flag
        if bits.read_flag():
            _skip_scaling_matrix(bits, 12 if chroma == 3 else 8)
    _skip_picture_order(bits)
    bits.read_ue()  # max_num_ref_frames
    bits.skip(1)  # gaps_in_frame_num_value_allowed_flag
    width, height = _read_size(bits, 0 if separate_planes else chroma)
    return SequenceParameters(profile, constraints, level, width, height, chroma, depth_luma, depth_chroma)


def _skip_scaling_matrix(bits: BitReader, lists: int) -> None:
    for index in range(lists):
        if not bits.read_flag():
            continue
        last = following = 8
        for _ in range(16 if index < 6 else 64):
            if following:
                following = (last + bits.read_se()) & 0xFF
            last = following or last


def _skip_picture_order(bits: BitReader) -> None:
    bits.read_ue()  # log2_max_frame_num_minus4
    order_type = bits.read_ue()
    if order_type == 0:
        bits.read_ue()
    elif order_type == 1:
        bits.skip(1)
        bits.read_se()
        bits.read_se()
        cycle = bits.read_ue()
        if cycle > _MAX_REFERENCE_FRAMES_IN_CYCLE:
            raise BitstreamError(f"{cycle} reference frames in a picture order cycle")
        for _ in range(cycle):
            bits.read_se()


def _read_size(bits: BitReader, chroma: int) -> tuple[int, int]:
    width = (bits.read_ue() + 1) * 16
    map_units = bits.read_ue() + 1
    fields = 1 if bits.read_flag() else 2  # frame_mbs_only_flag
    height = map_units * 16 * fields
    if fields == 2:
        bits.skip(1)  # mb_adaptive_frame_field_flag
    bits.skip(1)  # direct_8x8_inference_flag
    if bits.read_flag():
        left, right, top, bottom = (bits.read_ue() for _ in range(4))
        across, down = _CROP_UNITS.get(chroma, (1, 1))
        width -= (left + right) * across
        height -= (top + bottom) * down * fields
    if not (0 < width <= 65535 and 0 < height <= 65535):
        raise BitstreamError(f"a picture of {width} x {height}")
    return width, height


def parse_config(record: Payload) -> AvcConfig:
    """Read an AVCDecoderConfigurationRecord. Raises BitstreamError."""
    fields = ByteReader(record)
    if fields.read_uint(1) != 1:
        raise BitstreamError("the AVCDecoderConfigurationRecord is not of version 1")
    profile, constraints, level = fields.read(3)
    nal_length_size = (fields.read_uint(1) & 3) + 1
    if nal_length_size == 3:
        raise BitstreamError("NAL unit lengths of three bytes")
    sps = _read_parameter_sets(fields, fields.read_uint(1) & 0x1F)
    pps = _read_parameter_sets(fields, fields.read_uint(1))
    return AvcConfig(profile, constraints, level, nal_length_size, sps, pps)


def _read_parameter_sets(fields: ByteReader, count: int) -> tuple[bytes, ...]:
    return tuple(fields.read(fields.read_uint(2)) for _ in range(count))


def build_config(sps: Sequence[bytes], pps: Sequence[bytes]) -> bytes:
    """An AVCDecoderConfigurationRecord for four-byte lengths. Raises BitstreamError for a bad first SPS."""
    if not sps or not pps:
        raise BitstreamError("a decoder configuration needs an SPS and a PPS")
    first = parse_sps(sps[0])
    record = bytearray((1, first.profile, first.constraints, first.level, 0xFF, 0xE0 | len(sps)))
    for nal_unit in sps:
        record += len(nal_unit).to_bytes(2, "big") + nal_unit
    record.append(len(pps))
    for nal_unit in pps:
        record += len(nal_unit).to_bytes(2, "big") + nal_unit
    if first.profile in _PROFILES_WITH_EXTENDED_RECORD:
        depths = (first.bit_depth_luma - 8, first.bit_depth_chroma - 8)
        record += bytes((0xFC | first.chroma_format, 0xF8 | depths[0], 0xF8 | depths[1], 0))
    return bytes(record)


def picture_size(record: Payload) -> tuple[int, int]:
    """Width and height that a decoder configuration announces. Raises BitstreamError."""
    config = parse_config(record)
    if not config.sps:
        raise BitstreamError("the decoder configuration holds no SPS")
    first = parse_sps(config.sps[0])
    return first.width, first.height


def nal_unit_type(nal_unit: Payload) -> int:
    return nal_unit[0] & 0x1F


def split_nal_units(
    access_unit: Payload, nal_length_size: int = 4, most: int = sys.maxsize
) -> Iterator[memoryview]:
    """The NAL units of a length-prefixed access unit, empty ones left out. Raises BitstreamError.

    It is looked at up to so many units, empty ones too.
    """
    view = memoryview(access_unit)
    position, end = 0, len(view)
    while position < end and most > 0:
        most -= 1
        start = position + nal_length_size
        position = start + int.from_bytes(view[position:start], "big")
        if start > end or position > end:
            raise BitstreamError("a NAL unit reaches beyond its access unit")
        if position > start:
            yield view[start:position]


def is_annex_b(access_unit: Payload) -> bool:
    """Whether an access unit has start codes instead of four-byte lengths (annex B).

    00 00 01 may also be the length of a NAL unit of 256 to 511 bytes: then the lengths add up.
    """
    head = bytes(access_unit[:4])
    if not head.startswith(b"\0\0\1"):
        return head == b"\0\0\0\1"
    try:
        return not list(split_nal_units(access_unit))
    except BitstreamError:
        return True


def split_annex_b(data: Payload) -> list[bytes]:
    """The NAL units of a byte stream (annex B), start codes and trailing zeros removed."""
    _, *parts = bytes(data).split(b"\0\0\1")
    return [unit for unit in (part.rstrip(b"\0") for part in parts) if unit]


def join_length_prefixed(nal_units: Sequence[Payload]) -> bytes:
    """NAL units as MP4 keeps them, each behind its length in four bytes."""
    return b"".join(part for unit in nal_units for part in (len(unit).to_bytes(4, "big"), unit))
