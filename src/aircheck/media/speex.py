"""Speex: how long a packet sounds. Its frames are counted by their submodes, whose sizes are fixed.

The tables are those of the reference codec's manual (9 and 10): a narrowband frame and, in wideband,
behind it the layer of the upper frequencies.
"""

from __future__ import annotations

from aircheck.media.bits import BitReader, BitstreamError
from aircheck.media.packet import Payload

WIDEBAND_RATE = 16_000
WIDEBAND_FRAME_SAMPLES = 320

_NARROWBAND_BITS = (5, 43, 119, 160, 220, 300, 364, 492, 79)
_UPPER_BAND_BITS = (4, 36, 112, 192, 352)
_USER_MESSAGE, _INBAND_MESSAGE, _TERMINATOR = 13, 14, 15
_INBAND_BITS = (1, 1, 4, 4, 4, 4, 4, 4, 8, 8, 16, 16, 32, 32, 64, 64)


def packet_frames(packet: Payload) -> int:
    """The number of frames, of 20 ms each. Raises BitstreamError for what no encoder makes."""
    bits = BitReader(packet)
    frames = 0
    while bits.bits_left >= 5:
        if bits.read_flag():
            _skip_upper_band(bits)
            continue
        submode = bits.read(4)
        if submode == _TERMINATOR:
            break
        if submode == _INBAND_MESSAGE:
            bits.skip(_INBAND_BITS[bits.read(4)])
        elif submode == _USER_MESSAGE:
            bits.skip(1 + 8 * bits.read(4))
        elif submode < len(_NARROWBAND_BITS):
            bits.skip(_NARROWBAND_BITS[submode] - 5)
            frames += 1
        else:
            raise BitstreamError(f"Speex has no submode {submode}")
    if not frames:
        raise BitstreamError("a Speex packet without a frame")
    return frames


def _skip_upper_band(bits: BitReader) -> None:
    submode = bits.read(3)
    if submode >= len(_UPPER_BAND_BITS):
        raise BitstreamError(f"Speex has no wideband submode {submode}")
    bits.skip(_UPPER_BAND_BITS[submode] - 4)
