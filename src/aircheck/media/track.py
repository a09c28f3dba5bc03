"""What an elementary stream is: its codec, clock and decoder configuration."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum


class Kind(StrEnum):
    VIDEO = "video"
    AUDIO = "audio"
    DATA = "data"


class Codec(StrEnum):
    """A coding format. The value is the name used in the catalogue, the API and file names."""

    H264 = "h264"
    H265 = "h265"
    AV1 = "av1"
    VP8 = "vp8"
    VP9 = "vp9"
    AAC = "aac"
    OPUS = "opus"
    MP3 = "mp3"
    FLAC = "flac"
    AC3 = "ac3"
    PCMA = "pcma"
    PCMU = "pcmu"
    SPEEX = "speex"
    AMF0 = "amf0"

    @property
    def kind(self) -> Kind:
        return _KINDS[self]


class _Kinds(Enum):
    """Codecs by kind, so that a new codec without a kind fails at import."""

    VIDEO = (Codec.H264, Codec.H265, Codec.AV1, Codec.VP8, Codec.VP9)
    AUDIO = (
        Codec.AAC,
        Codec.OPUS,
        Codec.MP3,
        Codec.FLAC,
        Codec.AC3,
        Codec.PCMA,
        Codec.PCMU,
        Codec.SPEEX,
    )
    DATA = (Codec.AMF0,)


_KINDS: dict[Codec, Kind] = {codec: Kind[group.name] for group in _Kinds for codec in group.value}
assert set(_KINDS) == set(Codec)


@dataclass(frozen=True, slots=True)
class Track:
    """One elementary stream of a `Stream`.

    A changed decoder configuration is a new `Track` with the same `id`: recorders compare the objects to know
    that the file must be told, or a new segment begin.

    `config` is the decoder configuration as MP4 stores it, without box header:
    H.264 AVCDecoderConfigurationRecord, H.265 HEVCDecoderConfigurationRecord, AV1
    AV1CodecConfigurationRecord, VP9 the payload of `vpcC` after its version and flags, AAC
    AudioSpecificConfig, Opus the `OpusHead` packet of RFC 7845 5.1, FLAC the 34 bytes of STREAMINFO,
    otherwise empty.
    """

    id: int
    codec: Codec
    timescale: int
    """Ticks per second of pts and dts: 1000 for video from RTMP, the sample rate for audio (Opus: 48000)."""
    config: bytes = b""
    width: int = 0
    height: int = 0
    sample_rate: int = 0
    channels: int = 0

    @property
    def kind(self) -> Kind:
        return self.codec.kind

    @property
    def is_video(self) -> bool:
        return self.codec.kind is Kind.VIDEO

    @property
    def is_audio(self) -> bool:
        return self.codec.kind is Kind.AUDIO

    @property
    def is_data(self) -> bool:
        return self.codec.kind is Kind.DATA


DATA_TRACK = Track(1000, Codec.AMF0, 90_000)
"""The data messages of any stream: onMetaData, cue points, text. Always this very object.

Its number is behind those of all audio and video, so that these have the same ones with it and without it.
The clock is fine enough for messages of one millisecond to follow each other.
"""
