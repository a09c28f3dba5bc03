"""FLAC (RFC 9639): the STREAMINFO block and the block size of a frame."""

from __future__ import annotations

from dataclasses import dataclass

from aircheck.media.bits import BitReader, BitstreamError, ByteReader
from aircheck.media.packet import Payload

STREAM_INFO_BYTES = 34

_MAGIC = b"fLaC"
_STREAM_INFO = 0


@dataclass(frozen=True, slots=True)
class StreamInfo:
    min_block_samples: int
    max_block_samples: int
    sample_rate: int
    channels: int
    bits_per_sample: int


def find_stream_info(header: Payload) -> bytes:
    """The 34 bytes of STREAMINFO from the beginning of a FLAC stream, or alone. Raises BitstreamError."""
    if len(header) == STREAM_INFO_BYTES:
        return bytes(header)
    fields = ByteReader(header)
    if bytes(header[:4]) == _MAGIC:
        fields.read(4)
    if fields.read_uint(1) & 0x7F != _STREAM_INFO or fields.read_uint(3) != STREAM_INFO_BYTES:
        raise BitstreamError("the first FLAC metadata block is no STREAMINFO")
    return fields.read(STREAM_INFO_BYTES)


def without_totals(stream_info: bytes) -> bytes:
    """STREAMINFO of a stream without an end: frame sizes, number of samples and checksum are unknown (8.2).

    Encoders fill these in when they are done; in a live stream they are wrong, or change the configuration
    where nothing has changed.
    """
    rate_to_depth = int.from_bytes(stream_info[10:18], "big") & ~0xF_FFFF_FFFF
    return stream_info[:4] + bytes(6) + rate_to_depth.to_bytes(8, "big") + bytes(16)


def build_header(stream_info: bytes) -> bytes:
    """The beginning of a FLAC stream whose only metadata block is STREAMINFO."""
    return _MAGIC + b"\x80\0\0\x22" + stream_info


def parse_stream_info(info: Payload) -> StreamInfo:
    """Read a STREAMINFO block (8.2). Raises BitstreamError."""
    bits = BitReader(info)
    shortest, longest = bits.read(16), bits.read(16)
    bits.skip(48)  # smallest and largest frame
    rate, channels, depth = bits.read(20), bits.read(3) + 1, bits.read(5) + 1
    if not rate:
        raise BitstreamError("FLAC with a sample rate of 0 Hz")
    return StreamInfo(shortest, longest, rate, channels, depth)


def frame_samples(frame: Payload, info: Payload) -> int:
    """Samples in a frame (9.1.1), from `info` where its header leaves that to the stream. BitstreamError."""
    bits = BitReader(frame)
    if bits.read(15) != 0x7FFC:
        raise BitstreamError("no FLAC frame")
    bits.skip(1)  # blocking strategy
    code = bits.read(4)
    bits.skip(12)  # sample rate, channels, bit depth, reserved
    match code:
        case 0:
            return parse_stream_info(info).max_block_samples
        case 1:
            return 192
        case 2 | 3 | 4 | 5:
            return 144 << code
        case 6 | 7:
            _skip_coded_number(bits)
            return bits.read(8 if code == 6 else 16) + 1
        case _:
            return 1 << code


def _skip_coded_number(bits: BitReader) -> None:
    """The frame's or sample's number, coded like UTF-8 up to seven bytes."""
    first = bits.read(8)
    following = 8 - (first ^ 0xFF).bit_length() - 1
    if following > 6 or following == 0:
        raise BitstreamError("a FLAC frame with a bad number")
    bits.skip(8 * max(following, 0))
