"""Opus: the identification header (RFC 7845, 5.1) and the duration of a packet (RFC 6716, 3.1)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from aircheck.media.bits import BitstreamError
from aircheck.media.packet import Payload

SAMPLE_RATE = 48000
"""Opus always counts at 48 kHz, whatever rate went into the encoder."""

DEFAULT_PRE_SKIP = 312
"""What libopus needs: 6.5 ms."""

_MAX_PACKET_SAMPLES = 5760
_FRAME_SAMPLES = (
    (480, 960, 1920, 2880) * 3  # SILK
    + (480, 960) * 2  # hybrid
    + (120, 240, 480, 960) * 4  # CELT
)
_head = struct.Struct("<8sBBHIhB")


@dataclass(frozen=True, slots=True)
class OpusHead:
    """An identification header. `pre_skip` samples at 48 kHz are to be dropped from the beginning."""

    channels: int
    pre_skip: int
    input_sample_rate: int
    output_gain: int
    mapping_family: int


def parse_head(head: Payload) -> OpusHead:
    """Read an OpusHead packet. Raises BitstreamError."""
    if len(head) < _head.size:
        raise BitstreamError(f"an OpusHead of {len(head)} bytes")
    magic, version, channels, pre_skip, rate, gain, family = _head.unpack_from(head)
    if magic != b"OpusHead" or version >> 4 or not channels:
        raise BitstreamError("no OpusHead of version 1")
    if family and len(head) < _head.size + 2 + channels:
        raise BitstreamError("an OpusHead without its channel mapping")
    return OpusHead(channels, pre_skip, rate, gain, family)


def build_head(
    channels: int, *, pre_skip: int = DEFAULT_PRE_SKIP, input_sample_rate: int = SAMPLE_RATE
) -> bytes:
    """An OpusHead packet for mono or stereo. Raises BitstreamError for more channels: they need a mapping."""
    if channels not in (1, 2):
        raise BitstreamError(f"{channels} channels of Opus need a channel mapping")
    return _head.pack(b"OpusHead", 1, channels, pre_skip, input_sample_rate, 0, 0)


def packet_samples(packet: Payload) -> int:
    """How long a packet sounds, in samples at 48 kHz. Raises BitstreamError."""
    if not packet:
        raise BitstreamError("an empty Opus packet")
    toc = packet[0]
    if not toc & 3:
        return _FRAME_SAMPLES[toc >> 3]
    frames = 2
    if toc & 3 == 3:
        if len(packet) < 2:
            raise BitstreamError("an Opus packet without its frame count")
        frames = packet[1] & 0x3F
    samples = frames * _FRAME_SAMPLES[toc >> 3]
    if not 0 < samples <= _MAX_PACKET_SAMPLES:
        raise BitstreamError(f"an Opus packet of {samples} samples")
    return samples
