"""TrackEntry: what Matroska tells a decoder of each codec (Matroska codec specifications, WebM)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from aircheck.containers.lane import require_config
from aircheck.containers.matroska.ebml import TRACK_ENTRY, element, float64, text, uint
from aircheck.errors import ContainerError
from aircheck.media.track import Codec, Kind, Track

_TRACK_NUMBER, _TRACK_UID, _TRACK_TYPE = 0xD7, 0x73C5, 0x83
_FLAG_LACING, _FLAG_DEFAULT, _LANGUAGE = 0x9C, 0x88, 0x22B59C
_CODEC_ID, _CODEC_PRIVATE, _CODEC_DELAY, _SEEK_PRE_ROLL = 0x86, 0x63A2, 0x56AA, 0x56BB
_VIDEO, _PIXEL_WIDTH, _PIXEL_HEIGHT = 0xE0, 0xB0, 0xBA
_AUDIO, _SAMPLING_FREQUENCY, _OUTPUT_FREQUENCY, _CHANNELS, _BIT_DEPTH = 0xE1, 0xB5, 0x78B5, 0x9F, 0x6264

_TRACK_TYPES = {Kind.VIDEO: 1, Kind.AUDIO: 2, Kind.DATA: 33}
_SIZE_WIDTH = 7
"""Of a TrackEntry's size: with the ID that makes eight bytes, which one write puts there or not at all."""

_CODEC_IDS = {
    Codec.H264: "V_MPEG4/ISO/AVC",
    Codec.H265: "V_MPEGH/ISO/HEVC",
    Codec.AV1: "V_AV1",
    Codec.VP8: "V_VP8",
    Codec.VP9: "V_VP9",
    Codec.AAC: "A_AAC",
    Codec.OPUS: "A_OPUS",
    Codec.MP3: "A_MPEG/L3",
    Codec.FLAC: "A_FLAC",
    Codec.AC3: "A_AC3",
    Codec.PCMA: "A_MS/ACM",
    Codec.PCMU: "A_MS/ACM",
    Codec.SPEEX: "A_MS/ACM",
    Codec.AMF0: "D_WEBVTT/METADATA",
}
_WEBM = frozenset((Codec.VP8, Codec.VP9, Codec.AV1, Codec.OPUS, Codec.AMF0))
_WAVE_TAGS = {Codec.PCMA: 6, Codec.PCMU: 7, Codec.SPEEX: 0xA109}

_OPUS_RATE = 48_000
_OPUS_PRE_ROLL_NS = 80_000_000
"""What an Opus decoder needs to converge after a seek (RFC 7845, 4.6)."""
_FLAC_STREAM_INFO = b"fLaC\x80\0\0\x22"
"""The marker of a FLAC stream, and the header of its only (so its last) metadata block (RFC 9639, 6)."""


def can_hold(codec: Codec) -> bool:
    return codec in _CODEC_IDS


def can_hold_in_webm(codec: Codec) -> bool:
    return codec in _WEBM


def pre_skip(track: Track) -> int:
    """Samples at 48 kHz by which the track's packets precede what is heard of them (CodecDelay)."""
    if track.codec is not Codec.OPUS or len(track.config) < 12:
        return 0
    (samples,) = struct.unpack_from("<H", track.config, 10)
    return int(samples)


def track_entry(track: Track, number: int) -> bytes:
    """Raises ContainerError for a track that cannot be described."""
    if not can_hold(track.codec):
        raise ContainerError(
            f"Matroska cannot hold {track.codec} (track {track.id})", remedy="record this stream to FLV"
        )
    require_config(track)
    fields = [
        uint(_TRACK_NUMBER, number),
        uint(_TRACK_UID, number),
        uint(_TRACK_TYPE, _TRACK_TYPES[track.kind]),
        uint(_FLAG_LACING, 0),
        text(_LANGUAGE, "und"),
        text(_CODEC_ID, _CODEC_IDS[track.codec]),
        *_codec_fields(track),
        _kind_fields(track),
    ]
    return element(TRACK_ENTRY, *fields, width=_SIZE_WIDTH)


def _codec_fields(track: Track) -> Iterator[bytes]:
    match track.codec:
        case Codec.VP8 | Codec.VP9 | Codec.MP3 | Codec.AC3 | Codec.AMF0:
            return
        case Codec.OPUS:
            yield uint(_CODEC_DELAY, pre_skip(track) * 1_000_000_000 // _OPUS_RATE)
            yield uint(_SEEK_PRE_ROLL, _OPUS_PRE_ROLL_NS)
            yield element(_CODEC_PRIVATE, track.config)
        case Codec.FLAC:
            yield element(_CODEC_PRIVATE, _FLAC_STREAM_INFO, track.config)
        case Codec.PCMA | Codec.PCMU | Codec.SPEEX:
            yield element(_CODEC_PRIVATE, _wave_format(track))
        case _:
            yield element(_CODEC_PRIVATE, track.config)


def _wave_format(track: Track) -> bytes:
    """WAVEFORMATEX: G.711 has a byte a sample, of Speex only its name and rate are known."""
    channels, bits = track.channels or 1, 0 if track.codec is Codec.SPEEX else 8
    align = max(1, channels * bits // 8)
    rate = track.sample_rate
    return struct.pack("<HHIIHHH", _WAVE_TAGS[track.codec], channels, rate, rate * align, align, bits, 0)


def _kind_fields(track: Track) -> bytes:
    match track.kind:
        case Kind.VIDEO:
            return _video(track)
        case Kind.AUDIO:
            return _audio(track)
        case _:
            return uint(_FLAG_DEFAULT, 0)  # nothing to be shown


def _video(track: Track) -> bytes:
    return element(_VIDEO, uint(_PIXEL_WIDTH, track.width), uint(_PIXEL_HEIGHT, track.height))


def _audio(track: Track) -> bytes:
    rate = _OPUS_RATE if track.codec is Codec.OPUS else track.sample_rate or track.timescale
    fields = []
    if track.codec is Codec.AAC and track.timescale * 2 == rate:
        # HE-AAC: coded at half the rate that is heard.
        fields = [float64(_SAMPLING_FREQUENCY, rate / 2), float64(_OUTPUT_FREQUENCY, rate)]
    else:
        fields = [float64(_SAMPLING_FREQUENCY, rate)]
    fields.append(uint(_CHANNELS, track.channels or 2))
    if track.codec in (Codec.PCMA, Codec.PCMU):
        fields.append(uint(_BIT_DEPTH, 8))
    return element(_AUDIO, *fields)
