"""Which payload format a codec has."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aircheck.media.track import Codec
from aircheck.wire.rtp.audio import AudioPacketizer
from aircheck.wire.rtp.av1 import Av1Depacketizer, Av1Packetizer
from aircheck.wire.rtp.h264 import H264Depacketizer, H264Packetizer
from aircheck.wire.rtp.h265 import H265Depacketizer, H265Packetizer
from aircheck.wire.rtp.payload import Depacketizer, Packetizer
from aircheck.wire.rtp.vp8 import Vp8Depacketizer, Vp8Packetizer
from aircheck.wire.rtp.vp9 import Vp9Depacketizer, Vp9Packetizer

DEPACKETIZERS: Mapping[Codec, Callable[[], Depacketizer]] = {
    Codec.VP8: Vp8Depacketizer,
    Codec.VP9: Vp9Depacketizer,
    Codec.H264: H264Depacketizer,
    Codec.H265: H265Depacketizer,
    Codec.AV1: Av1Depacketizer,
}
"""Of pictures; a payload of sound is a frame as it is."""

PACKETIZERS: Mapping[Codec, Callable[[], Packetizer]] = {
    Codec.VP8: Vp8Packetizer,
    Codec.VP9: Vp9Packetizer,
    Codec.H264: H264Packetizer,
    Codec.H265: H265Packetizer,
    Codec.AV1: Av1Packetizer,
    Codec.OPUS: AudioPacketizer,
    Codec.PCMA: AudioPacketizer,
    Codec.PCMU: AudioPacketizer,
}
