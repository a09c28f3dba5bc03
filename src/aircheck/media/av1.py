"""AV1: OBUs, sequence headers (AV1 bitstream specification, 5.3 to 5.5), `av1C` (AV1 in ISOBMFF, 2.3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from aircheck.media.bits import BitReader, BitstreamError
from aircheck.media.packet import Payload

OBU_SEQUENCE_HEADER = 1
OBU_TEMPORAL_DELIMITER = 2
OBU_FRAME_HEADER = 3
OBU_FRAME = 6

_CONFIG_BYTES = 4
_TEMPORAL_DELIMITER = b"\x12\0"
_MAX_LEB128_BYTES = 8
_SELECT = 2
_SRGB = (1, 13, 0)


@dataclass(frozen=True, slots=True)
class SequenceHeader:
    profile: int
    level: int
    tier: int
    width: int
    height: int
    bit_depth: int
    is_monochrome: bool
    halves_chroma_x: int
    halves_chroma_y: int
    chroma_sample_position: int


class Obu(NamedTuple):
    """One OBU: its type, its payload, and all of its bytes."""

    type: int
    payload: memoryview
    whole: memoryview


def read_leb128(data: Payload, position: int) -> tuple[int, int]:
    """A number of variable length and where it ends. Raises BitstreamError."""
    value = 0
    for count, octet in enumerate(data[position : position + _MAX_LEB128_BYTES]):
        value |= (octet & 0x7F) << 7 * count
        if not octet & 0x80:
            return value, position + count + 1
    raise BitstreamError("a leb128 number without an end")


def write_leb128(value: int) -> bytes:
    octets = bytearray()
    while value >= 0x80:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)


def split_obus(data: Payload) -> Iterator[Obu]:
    """The OBUs of a temporal unit; one without a size reaches to the end. Raises BitstreamError."""
    view = memoryview(data)
    position = 0
    while position < len(view):
        header = view[position]
        if header & 0x80:
            raise BitstreamError(f"the forbidden bit is set in the OBU at byte {position}")
        start = position + 1 + (header >> 2 & 1)
        size_bytes = len(view) - start
        if header & 2:
            size_bytes, start = read_leb128(view, start)
        end = start + size_bytes
        if size_bytes < 0 or end > len(view):
            raise BitstreamError("an OBU reaches beyond its temporal unit")
        yield Obu(header >> 3 & 15, view[start:end], view[position:end])
        position = end


def strip_temporal_delimiters(temporal_unit: memoryview) -> memoryview:
    """The unit as MP4 keeps it: without the delimiter that stands first, or nowhere."""
    while temporal_unit[:2] == _TEMPORAL_DELIMITER:
        temporal_unit = temporal_unit[2:]
    return temporal_unit


def find_sequence_header(temporal_unit: Payload) -> Obu | None:
    """The first sequence header OBU; every key frame that decoding can begin with has one. BitstreamError."""
    return next((obu for obu in split_obus(temporal_unit) if obu.type == OBU_SEQUENCE_HEADER), None)


def parse_sequence_header(payload: Payload) -> SequenceHeader:
    """Read the payload of a sequence header OBU (5.5.1). Raises BitstreamError."""
    bits = BitReader(payload)
    profile = bits.read(3)
    bits.skip(1)  # still_picture
    is_reduced = bits.read_flag()
    level, tier = (bits.read(5), 0) if is_reduced else _read_operating_points(bits)
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    width, height = bits.read(width_bits) + 1, bits.read(height_bits) + 1
    if not is_reduced and bits.read_flag():
        bits.skip(7)  # delta_frame_id_length_minus_2, additional_frame_id_length_minus_1
    bits.skip(3)  # use_128x128_superblock, enable_filter_intra, enable_intra_edge_filter
    if not is_reduced:
        _skip_tools(bits)
    bits.skip(3)  # enable_superres, enable_cdef, enable_restoration
    return SequenceHeader(profile, level, tier, width, height, *_read_color(bits, profile))


def _read_operating_points(bits: BitReader) -> tuple[int, int]:
    """Level and tier of the first operating point."""
    delay_bits = 0
    if bits.read_flag():  # timing_info_present_flag
        bits.skip(64)  # num_units_in_display_tick, time_scale
        if bits.read_flag():  # equal_picture_interval
            bits.read_ue()  # uvlc() is coded like ue(v)
        if bits.read_flag():  # decoder_model_info_present_flag
            delay_bits = bits.read(5) + 1
            bits.skip(42)
    has_display_delay = bits.read_flag()
    points = bits.read(5) + 1
    first, *_ = [_read_operating_point(bits, delay_bits, has_display_delay) for _ in range(points)]
    return first


def _read_operating_point(bits: BitReader, delay_bits: int, has_display_delay: bool) -> tuple[int, int]:
    bits.skip(12)  # operating_point_idc
    level = bits.read(5)
    tier = bits.read(1) if level > 7 else 0
    if delay_bits and bits.read_flag():
        bits.skip(2 * delay_bits + 1)
    if has_display_delay and bits.read_flag():
        bits.skip(4)
    return level, tier


def _skip_tools(bits: BitReader) -> None:
    bits.skip(4)  # interintra and masked compound, warped motion, dual filter
    has_order_hint = bits.read_flag()
    if has_order_hint:
        bits.skip(2)  # enable_jnt_comp, enable_ref_frame_mvs
    screen_content = _SELECT if bits.read_flag() else bits.read(1)
    if screen_content and not bits.read_flag():
        bits.skip(1)  # seq_force_integer_mv
    if has_order_hint:
        bits.skip(3)  # order_hint_bits_minus_1


def _read_color(bits: BitReader, profile: int) -> tuple[int, bool, int, int, int]:
    """Bit depth, whether monochrome, chroma subsampling across and down, chroma sample position (5.5.2)."""
    depth = 10 if bits.read_flag() else 8
    if profile == 2 and depth == 10 and bits.read_flag():
        depth = 12
    is_monochrome = profile != 1 and bits.read_flag()
    description = (bits.read(8), bits.read(8), bits.read(8)) if bits.read_flag() else (2, 2, 2)
    if is_monochrome:
        bits.skip(1)  # color_range
        return depth, True, 1, 1, 0
    if description == _SRGB:
        return depth, False, 0, 0, 0
    bits.skip(1)  # color_range
    halves_x, halves_y = _read_subsampling(bits, profile, depth)
    position = bits.read(2) if halves_x and halves_y else 0
    return depth, False, halves_x, halves_y, position


def _read_subsampling(bits: BitReader, profile: int, depth: int) -> tuple[int, int]:
    if profile < 2:
        return (1, 1) if profile == 0 else (0, 0)
    if depth < 12:
        return 1, 0
    halves_x = bits.read(1)
    return halves_x, bits.read(1) if halves_x else 0


def build_config(sequence_header: Obu) -> bytes:
    """An AV1CodecConfigurationRecord around a sequence header OBU. Raises BitstreamError."""
    header = parse_sequence_header(sequence_header.payload)
    sampling = (
        header.tier << 7
        | (header.bit_depth > 8) << 6
        | (header.bit_depth == 12) << 5
        | header.is_monochrome << 4
        | header.halves_chroma_x << 3
        | header.halves_chroma_y << 2
        | header.chroma_sample_position
    )
    # The OBU is written with a size field, as the record demands (2.3.4).
    obu = b"\x0a" + write_leb128(len(sequence_header.payload)) + bytes(sequence_header.payload)
    return bytes((0x81, header.profile << 5 | header.level, sampling, 0)) + obu


def config_of_temporal_unit(temporal_unit: Payload) -> bytes:
    """The AV1CodecConfigurationRecord of a unit that has a sequence header, else nothing. BitstreamError."""
    header = find_sequence_header(temporal_unit)
    return build_config(header) if header is not None else b""


def picture_size(record: Payload) -> tuple[int, int]:
    """Largest width and height that an AV1CodecConfigurationRecord announces. Raises BitstreamError."""
    if len(record) < _CONFIG_BYTES or record[0] != 0x81:
        raise BitstreamError("no AV1CodecConfigurationRecord of version 1")
    header = find_sequence_header(record[_CONFIG_BYTES:])
    if header is None:
        raise BitstreamError("the AV1 configuration holds no sequence header")
    sequence = parse_sequence_header(header.payload)
    return sequence.width, sequence.height
