"""FLV tags: what precedes the payload of each codec.

Classic bodies follow the Video File Format Specification 10.1 (E.4.2, E.4.3); codecs that it does not know,
and all tracks but the first of their kind, follow Enhanced RTMP v2 (ExVideoTagHeader, ExAudioTagHeader).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from aircheck.errors import ContainerError
from aircheck.media.track import Codec, Kind, Track

AUDIO = 8
VIDEO = 9
SCRIPT = 18

TAG_HEADER_BYTES = 11
MAX_BODY_BYTES = 0xFFFFFF

_FOURCC = {
    Codec.H264: b"avc1",
    Codec.H265: b"hvc1",
    Codec.AV1: b"av01",
    Codec.VP8: b"vp08",
    Codec.VP9: b"vp09",
    Codec.AAC: b"mp4a",
    Codec.OPUS: b"Opus",
    Codec.FLAC: b"fLaC",
    Codec.AC3: b"ac-3",
    Codec.MP3: b".mp3",
}
_CLASSIC_AVC = 7
_CLASSIC_AUDIO = {Codec.MP3: 2, Codec.PCMA: 7, Codec.PCMU: 8, Codec.AAC: 10, Codec.SPEEX: 11}
_MP3_8K = 14

_KEY, _INTER = 1, 2
_SEQUENCE_START, _CODED_FRAMES = 0, 1
_EXTENDED_VIDEO = 0x80
_EXTENDED_AUDIO = 9 << 4
_VIDEO_MULTITRACK, _AUDIO_MULTITRACK = 6, 5

_HAVE_COMPOSITION_TIME = frozenset((Codec.H264, Codec.H265))
_HAVE_SEQUENCE_START = frozenset(
    (Codec.H264, Codec.H265, Codec.AV1, Codec.VP9, Codec.AAC, Codec.OPUS, Codec.FLAC)
)
_FULL_BOX_HEADER = b"\x01\0\0\0"
_FLAC_STREAM_INFO = b"fLaC\x80\0\0\x22"
"""The marker of a FLAC stream, and the header of its only (so its last) metadata block (RFC 9639, 6)."""

_pack_head = struct.Struct(">II3x").pack
pack_size = struct.Struct(">I").pack


def can_hold(codec: Codec) -> bool:
    """Whether FLV has a code for it. Without a FourCC it can only be the first track of its kind."""
    return codec in _FOURCC or codec in _CLASSIC_AUDIO or codec is Codec.AMF0


@dataclass(frozen=True, slots=True)
class TagForm:
    """How one track's packets look: the tag's type, and the bytes before the payload.

    With a composition time, three more bytes of it follow the prefix. `sequence_start` is the body of the tag
    that configures the decoder, empty for codecs without one.
    """

    type_id: int
    key_prefix: bytes
    inter_prefix: bytes
    has_composition_time: bool
    sequence_start: bytes


def form_of(track: Track, index: int) -> TagForm:
    """For the track that is the `index`-th of its kind. Raises ContainerError for what FLV cannot hold."""
    if not can_hold(track.codec) or (index and track.codec not in _FOURCC) or index > 255:
        raise ContainerError(
            f"FLV cannot hold {track.codec} (track {track.id}) beside the tracks it has",
            remedy="record this stream to Matroska",
        )
    match track.kind:
        case Kind.VIDEO:
            return _video_form(track, index)
        case Kind.AUDIO:
            return _audio_form(track, index)
        case _:
            return TagForm(SCRIPT, b"", b"", False, b"")


def _video_form(track: Track, index: int) -> TagForm:
    key, inter = (_video_prefix(track.codec, frame, _CODED_FRAMES, index) for frame in (_KEY, _INTER))
    start = b""
    if track.config and track.codec in _HAVE_SEQUENCE_START:
        start = _video_prefix(track.codec, _KEY, _SEQUENCE_START, index)
        if track.codec is Codec.H264 and not index:
            start += bytes(3)  # the composition time of a classic tag, whatever its packet type
        start += _FULL_BOX_HEADER + track.config if track.codec is Codec.VP9 else track.config
    return TagForm(VIDEO, key, inter, track.codec in _HAVE_COMPOSITION_TIME, start)


def _video_prefix(codec: Codec, frame_type: int, packet_type: int, index: int) -> bytes:
    if codec is Codec.H264 and not index:
        return bytes((frame_type << 4 | _CLASSIC_AVC, packet_type))
    head = _EXTENDED_VIDEO | frame_type << 4
    return _extended_prefix(head, packet_type, _VIDEO_MULTITRACK, codec, index)


def _audio_form(track: Track, index: int) -> TagForm:
    prefix = _audio_prefix(track, _CODED_FRAMES, index)
    start = b""
    if track.config and track.codec in _HAVE_SEQUENCE_START:
        config = _FLAC_STREAM_INFO + track.config if track.codec is Codec.FLAC else track.config
        start = _audio_prefix(track, _SEQUENCE_START, index) + config
    return TagForm(AUDIO, prefix, prefix, False, start)


def _audio_prefix(track: Track, packet_type: int, index: int) -> bytes:
    sound_format = _CLASSIC_AUDIO.get(track.codec)
    if sound_format is None or index:
        return _extended_prefix(_EXTENDED_AUDIO, packet_type, _AUDIO_MULTITRACK, track.codec, index)
    if track.codec is Codec.AAC:
        # Whatever the rate, AAC says 44.1 kHz, 16 bits, stereo (E.4.2.1).
        return bytes((sound_format << 4 | 15, packet_type))
    return bytes((_classic_sound(track, sound_format),))


def _classic_sound(track: Track, sound_format: int) -> int:
    """16-bit samples, and the rate as near as two bits can tell: decoders look into the frames."""
    if track.codec is Codec.MP3 and track.sample_rate == 8000:
        sound_format = _MP3_8K
    rate = sum(track.sample_rate >= limit for limit in (11025, 22050, 44100))
    return sound_format << 4 | rate << 2 | 2 | (track.channels > 1)


def _extended_prefix(head: int, packet_type: int, multitrack: int, codec: Codec, index: int) -> bytes:
    if not index:
        return bytes((head | packet_type,)) + _FOURCC[codec]
    return bytes((head | multitrack, packet_type)) + _FOURCC[codec] + bytes((index,))


def metadata_codec_id(codec: Codec) -> int:
    """What onMetaData calls a codec: its classic number, else its FourCC as a number."""
    if codec is Codec.H264:
        return _CLASSIC_AVC
    classic = _CLASSIC_AUDIO.get(codec)
    return classic if classic is not None else int.from_bytes(_FOURCC[codec], "big")


def whole_tag(type_id: int, body: bytes, time: int = 0) -> bytes:
    """A tag with the size that follows it."""
    size = len(body)
    stamp = (time & 0xFFFFFF) << 8 | time >> 24 & 0xFF
    return _pack_head(type_id << 24 | size, stamp) + body + pack_size(size + TAG_HEADER_BYTES)
