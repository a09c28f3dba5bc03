"""H.265 (ISO/IEC 23008-2): parameter sets, NAL units and HEVCDecoderConfigurationRecord (14496-15, 8.3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aircheck.media.bits import BitReader, BitstreamError, ByteReader, unescape
from aircheck.media.packet import Payload

NAL_IDR_W_RADL = 19
NAL_IDR_N_LP = 20
NAL_CRA = 21
NAL_VPS = 32
NAL_SPS = 33
NAL_PPS = 34
NAL_AUD = 35
NAL_PREFIX_SEI = 39

_RANDOM_ACCESS = range(16, 24)
_CROP_UNITS = {0: (1, 1), 1: (2, 2), 2: (2, 1), 3: (1, 1)}
"""Luma samples of one unit of the conformance window, across and down, by chroma format (table 6-1)."""


@dataclass(frozen=True, slots=True)
class SequenceParameters:
    """What a recorder wants to know of a sequence parameter set; sizes are those shown, after cropping.

    `profile_tier_level` holds the 12 bytes of general_profile_space to general_level_idc.
    """

    profile_tier_level: bytes
    max_sub_layers: int
    is_temporally_nested: bool
    width: int
    height: int
    chroma_format: int
    bit_depth_luma: int
    bit_depth_chroma: int

    @property
    def profile(self) -> int:
        return self.profile_tier_level[0] & 0x1F

    @property
    def level(self) -> int:
        """Thirty times the level's number."""
        return self.profile_tier_level[11]


@dataclass(frozen=True, slots=True)
class HevcConfig:
    """An HEVCDecoderConfigurationRecord."""

    nal_length_size: int
    vps: tuple[bytes, ...]
    sps: tuple[bytes, ...]
    pps: tuple[bytes, ...]


def nal_unit_type(nal_unit: Payload) -> int:
    return nal_unit[0] >> 1 & 0x3F


def is_random_access(nal_type: int) -> bool:
    """Whether decoding can begin at a picture of such NAL units (IRAP: IDR, CRA, BLA)."""
    return nal_type in _RANDOM_ACCESS


def parse_sps(nal_unit: Payload) -> SequenceParameters:
    """Read a sequence parameter set (7.3.2.2.1), NAL header included. Raises BitstreamError."""
    bits = BitReader(unescape(nal_unit))
    if bits.read(16) >> 9 & 0x3F != NAL_SPS:
        raise BitstreamError("the NAL unit is no sequence parameter set")
    bits.skip(4)  # sps_video_parameter_set_id
    sub_layers = bits.read(3) + 1
    is_nested = bits.read_flag()
    profile_tier_level = bits.read(96).to_bytes(12, "big")
    _skip_sub_layers(bits, sub_layers - 1)
    bits.read_ue()  # sps_seq_parameter_set_id
    chroma = bits.read_ue()
    if chroma > 3:
        raise BitstreamError(f"chroma format {chroma}")
    if chroma == 3:
        bits.skip(1)  # separate_colour_plane_flag
    width, height = _read_size(bits, chroma)
    depth_luma, depth_chroma = 8 + bits.read_ue(), 8 + bits.read_ue()
    if depth_luma > 16 or depth_chroma > 16:
        raise BitstreamError(f"{depth_luma} bits of luma, {depth_chroma} of chroma")
    return SequenceParameters(
        profile_tier_level, sub_layers, is_nested, width, height, chroma, depth_luma, depth_chroma
    )


def _skip_sub_layers(bits: BitReader, count: int) -> None:
    flags = [(bits.read_flag(), bits.read_flag()) for _ in range(count)]
    if count:
        bits.skip(2 * (8 - count))
    for has_profile, has_level in flags:
        bits.skip(88 * has_profile + 8 * has_level)


def _read_size(bits: BitReader, chroma: int) -> tuple[int, int]:
    width, height = bits.read_ue(), bits.read_ue()
    if bits.read_flag():
        left, right, top, bottom = (bits.read_ue() for _ in range(4))
        across, down = _CROP_UNITS[chroma]
        width -= (left + right) * across
        height -= (top + bottom) * down
    if not (0 < width <= 65535 and 0 < height <= 65535):
        raise BitstreamError(f"a picture of {width} x {height}")
    return width, height


def parse_config(record: Payload) -> HevcConfig:
    """Read an HEVCDecoderConfigurationRecord. Raises BitstreamError."""
    fields = ByteReader(record)
    if fields.read_uint(1) != 1:
        raise BitstreamError("the HEVCDecoderConfigurationRecord is not of version 1")
    fields.read(20)
    nal_length_size = (fields.read_uint(1) & 3) + 1
    sets: dict[int, list[bytes]] = {NAL_VPS: [], NAL_SPS: [], NAL_PPS: []}
    for _ in range(fields.read_uint(1)):
        nal_type = fields.read_uint(1) & 0x3F
        units = [fields.read(fields.read_uint(2)) for _ in range(fields.read_uint(2))]
        sets.setdefault(nal_type, []).extend(units)
    return HevcConfig(nal_length_size, *(tuple(sets[kind]) for kind in (NAL_VPS, NAL_SPS, NAL_PPS)))


def build_config(vps: Sequence[bytes], sps: Sequence[bytes], pps: Sequence[bytes]) -> bytes:
    """An HEVCDecoderConfigurationRecord for four-byte lengths. Raises BitstreamError for a bad first SPS."""
    if not (vps and sps and pps):
        raise BitstreamError("a decoder configuration needs a VPS, an SPS and a PPS")
    first = parse_sps(sps[0])
    record = bytearray(b"\x01" + first.profile_tier_level)
    record += b"\xf0\0\xfc"  # no spatial segmentation, parallelism unknown
    record += bytes(
        (0xFC | first.chroma_format, 0xF8 | first.bit_depth_luma - 8, 0xF8 | first.bit_depth_chroma - 8, 0, 0)
    )
    record.append(first.max_sub_layers << 3 | first.is_temporally_nested << 2 | 3)
    record.append(3)
    for kind, units in ((NAL_VPS, vps), (NAL_SPS, sps), (NAL_PPS, pps)):
        record += bytes((0x80 | kind,)) + len(units).to_bytes(2, "big")
        for unit in units:
            record += len(unit).to_bytes(2, "big") + unit
    return bytes(record)


def picture_size(record: Payload) -> tuple[int, int]:
    """Width and height that a decoder configuration announces. Raises BitstreamError."""
    config = parse_config(record)
    if not config.sps:
        raise BitstreamError("the decoder configuration holds no SPS")
    first = parse_sps(config.sps[0])
    return first.width, first.height
