"""AC-3: the synchronization frame (ETSI TS 102 366, 4.3 and 4.4)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from aircheck.media.bits import BitReader, BitstreamError
from aircheck.media.packet import Payload

FRAME_SAMPLES = 1536

_SAMPLE_RATES = (48000, 44100, 32000)
_BIT_RATES_KBPS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)
_CHANNELS = (2, 1, 2, 3, 3, 4, 4, 5)
_LAST_BSID = 8
"""Higher values are other formats, E-AC-3 (16) among them."""


@dataclass(frozen=True, slots=True)
class FrameHeader:
    sample_rate: int
    channels: int
    """With the low-frequency channel."""
    size_bytes: int


def parse_header(frame: Payload) -> FrameHeader:
    """Read the beginning of a synchronization frame. Raises BitstreamError."""
    bits = BitReader(frame)
    if bits.read(16) != 0x0B77:
        raise BitstreamError("no AC-3 frame")
    bits.skip(16)  # crc1
    rate_code, size_code = bits.read(2), bits.read(6)
    if rate_code == 3 or size_code >= 2 * len(_BIT_RATES_KBPS) or bits.read(5) > _LAST_BSID:
        raise BitstreamError("a reserved value in an AC-3 frame header")
    bits.skip(3)  # bsmod
    mode = bits.read(3)
    if mode & 1 and mode != 1:
        bits.skip(2)  # cmixlev
    if mode & 4:
        bits.skip(2)  # surmixlev
    if mode == 2:
        bits.skip(2)  # dsurmod
    channels = _CHANNELS[mode] + bits.read(1)
    return FrameHeader(_SAMPLE_RATES[rate_code], channels, _frame_bytes(rate_code, size_code))


def _frame_bytes(rate_code: int, size_code: int) -> int:
    """Table 4.13: whole 16-bit words; at 44.1 kHz the low bit of the code says one more."""
    words = _BIT_RATES_KBPS[size_code >> 1] * 1000 * FRAME_SAMPLES // 16 // _SAMPLE_RATES[rate_code]
    return 2 * (words + (size_code & 1 if rate_code == 1 else 0))


def split_frames(data: Payload) -> Iterator[tuple[memoryview, int]]:
    """Frames that follow each other, with their samples; a torn last one as it is. Raises BitstreamError."""
    view = memoryview(data)
    while view:
        header = parse_header(view)
        yield view[: header.size_bytes], FRAME_SAMPLES
        view = view[header.size_bytes :]
