"""MPEG audio: the frame header (ISO/IEC 11172-3, 2.4.1.3; 13818-3) of layers I to III."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from aircheck.media.bits import BitstreamError
from aircheck.media.packet import Payload

_SAMPLE_RATES = (44100, 48000, 32000)
_RATE_SHIFT = {3: 0, 2: 1, 0: 2}
"""By the two version bits: MPEG-1, MPEG-2 with half the rates, MPEG-2.5 with a quarter."""

_BIT_RATES_KBPS = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


@dataclass(frozen=True, slots=True)
class FrameHeader:
    layer: int
    sample_rate: int
    channels: int
    samples: int
    size_bytes: int


def parse_header(frame: Payload) -> FrameHeader:
    """Read the four bytes that begin a frame. Raises BitstreamError; free format is not supported."""
    if len(frame) < 4 or frame[0] != 0xFF or frame[1] & 0xE0 != 0xE0:
        raise BitstreamError("no MPEG audio frame")
    version, layer = frame[1] >> 3 & 3, 4 - (frame[1] >> 1 & 3)
    bit_rate_index, rate_index = frame[2] >> 4, frame[2] >> 2 & 3
    if version == 1 or layer == 4 or bit_rate_index in (0, 15) or rate_index == 3:
        raise BitstreamError("a reserved value in an MPEG audio frame header")
    family = 1 if version == 3 else 2
    sample_rate = _SAMPLE_RATES[rate_index] >> _RATE_SHIFT[version]
    bit_rate = _BIT_RATES_KBPS[family, layer][bit_rate_index - 1] * 1000
    padding = frame[2] >> 1 & 1
    samples = 384 if layer == 1 else 576 if layer == 3 and family == 2 else 1152
    if layer == 1:
        size_bytes = (12 * bit_rate // sample_rate + padding) * 4
    else:
        size_bytes = samples // 8 * bit_rate // sample_rate + padding
    return FrameHeader(layer, sample_rate, 1 if frame[3] >> 6 == 3 else 2, samples, size_bytes)


def split_frames(data: Payload) -> Iterator[tuple[memoryview, int]]:
    """Frames that follow each other, with their samples; a torn last one as it is. Raises BitstreamError."""
    view = memoryview(data)
    while view:
        header = parse_header(view)
        yield view[: header.size_bytes], header.samples
        view = view[header.size_bytes :]
