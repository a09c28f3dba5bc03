"""FLV: the bodies of RTMP's audio and video messages, and the tags of a file that hold them.

Classic bodies follow the Video File Format Specification 10.1 (E.4.2, E.4.3), those with a FourCC follow
Enhanced RTMP v2 (ExAudioTagHeader, ExVideoTagHeader). Both parse to the same tags: classic AVC is `avc1`,
classic AAC is `mp4a`, each on track 0.

Sans-IO. A body that is not what the specifications say raises `MalformedTag`; a codec we do not know is no
error but a tag whose `codec` is None.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from aircheck.media.bits import BitstreamError
from aircheck.media.packet import Payload
from aircheck.media.track import Codec

AUDIO_MESSAGE = 8
VIDEO_MESSAGE = 9
DATA_MESSAGE = 18


class MalformedTag(BitstreamError):
    """The body of an audio or video message is torn or contradicts itself."""


class FrameType(IntEnum):
    KEY = 1
    INTER = 2
    DISPOSABLE = 3
    GENERATED_KEY = 4
    COMMAND = 5


class VideoPacketType(IntEnum):
    """Classic AVC packets use 0 to 2 with the same meaning."""

    SEQUENCE_START = 0
    CODED_FRAMES = 1
    SEQUENCE_END = 2
    CODED_FRAMES_X = 3
    METADATA = 4
    MPEG2TS_SEQUENCE_START = 5
    MULTITRACK = 6
    MOD_EX = 7


class AudioPacketType(IntEnum):
    """Classic AAC packets use 0 and 1 with the same meaning."""

    SEQUENCE_START = 0
    CODED_FRAMES = 1
    SEQUENCE_END = 2
    MULTICHANNEL_CONFIG = 4
    MULTITRACK = 5
    MOD_EX = 7


class MultitrackType(IntEnum):
    ONE_TRACK = 0
    MANY_TRACKS = 1
    MANY_TRACKS_MANY_CODECS = 2


class SoundFormat(IntEnum):
    MP3 = 2
    G711_A_LAW = 7
    G711_MU_LAW = 8
    EX_HEADER = 9
    AAC = 10
    SPEEX = 11
    MP3_8K = 14


VIDEO_CODEC_AVC = 7
VIDEO_CODEC_HEVC = 12
"""Not in any specification; what Chinese cameras and servers agreed on before Enhanced RTMP."""

VIDEO_FOURCCS = {
    b"avc1": Codec.H264,
    b"hvc1": Codec.H265,
    b"av01": Codec.AV1,
    b"vp09": Codec.VP9,
    b"vp08": Codec.VP8,
}
AUDIO_FOURCCS = {
    b"Opus": Codec.OPUS,
    b"mp4a": Codec.AAC,
    b"fLaC": Codec.FLAC,
    b"ac-3": Codec.AC3,
    b".mp3": Codec.MP3,
}
_FOURCC_OF = {codec: fourcc for fourcc, codec in (VIDEO_FOURCCS | AUDIO_FOURCCS).items()}

_CLASSIC_VIDEO = {VIDEO_CODEC_AVC: Codec.H264, VIDEO_CODEC_HEVC: Codec.H265}
_CLASSIC_VIDEO_NAMES = {
    2: "Sorenson H.263",
    3: "Screen video",
    4: "VP6",
    5: "VP6 with alpha",
    6: "Screen video 2",
    7: "avc1",
    12: "hvc1",
}
_CLASSIC_AUDIO = {
    SoundFormat.MP3: Codec.MP3,
    SoundFormat.G711_A_LAW: Codec.PCMA,
    SoundFormat.G711_MU_LAW: Codec.PCMU,
    SoundFormat.AAC: Codec.AAC,
    SoundFormat.SPEEX: Codec.SPEEX,
    SoundFormat.MP3_8K: Codec.MP3,
}
_CLASSIC_AUDIO_NAMES = {
    0: "PCM",
    1: "ADPCM",
    2: ".mp3",
    3: "PCM",
    4: "Nellymoser",
    5: "Nellymoser",
    6: "Nellymoser",
    7: "G.711 A-law",
    8: "G.711 mu-law",
    10: "mp4a",
    11: "Speex",
    14: ".mp3",
    15: "device-specific sound",
}
_CLASSIC_IDS = {
    Codec.H264: VIDEO_CODEC_AVC,
    Codec.AAC: SoundFormat.AAC,
    Codec.MP3: SoundFormat.MP3,
    Codec.PCMA: SoundFormat.G711_A_LAW,
    Codec.PCMU: SoundFormat.G711_MU_LAW,
    Codec.SPEEX: SoundFormat.SPEEX,
}
"""What we send in classic form on the first track of a kind."""

_WITH_COMPOSITION_TIME = frozenset((b"avc1", b"hvc1", b"vvc1"))

_TIMESTAMP_OFFSET_NANO = 0


@dataclass(frozen=True, slots=True)
class VideoTag:
    """One track's part of a video message. `codec` is None when it is not one of ours; `codec_name` tells.

    `composition_time_ms` is signed: presentation minus decoding time. `timestamp_offset_ns` is what a ModEx
    adds to the message's timestamp.
    """

    codec: Codec | None
    codec_name: str
    packet_type: VideoPacketType
    frame_type: int
    body: memoryview
    composition_time_ms: int = 0
    track_index: int = 0
    timestamp_offset_ns: int = 0

    @property
    def is_keyframe(self) -> bool:
        return self.frame_type in (FrameType.KEY, FrameType.GENERATED_KEY)


@dataclass(frozen=True, slots=True)
class AudioTag:
    """One track's part of an audio message. `channels` is what a classic header tells (0: nothing)."""

    codec: Codec | None
    codec_name: str
    packet_type: AudioPacketType
    body: memoryview
    channels: int = 0
    track_index: int = 0
    timestamp_offset_ns: int = 0


class _Part(NamedTuple):
    fourcc: bytes
    packet_type: int
    track_index: int
    timestamp_offset_ns: int
    body: memoryview


# ---------------------------------------------------------------------------------------------- parsing


def parse_video(payload: Payload) -> tuple[VideoTag, ...]:
    """The tags of a video message; none for info and command frames. Raises MalformedTag."""
    view = memoryview(payload)
    if not view:
        raise MalformedTag("an empty video message")
    if view[0] & 0x80:
        return tuple(_enhanced_video(view))
    return _classic_video(view)


def _classic_video(view: memoryview) -> tuple[VideoTag, ...]:
    frame_type, codec_id = view[0] >> 4, view[0] & 15
    if frame_type == FrameType.COMMAND:
        return ()
    codec = _CLASSIC_VIDEO.get(codec_id)
    name = _CLASSIC_VIDEO_NAMES.get(codec_id, f"video codec {codec_id}")
    if codec is None:
        return (VideoTag(None, name, VideoPacketType.CODED_FRAMES, frame_type, view[1:]),)
    if len(view) < 5:
        raise MalformedTag(f"a {name} message of {len(view)} bytes")
    if view[1] > VideoPacketType.SEQUENCE_END:
        raise MalformedTag(f"{name} packet type {view[1]}")
    return (VideoTag(codec, name, VideoPacketType(view[1]), frame_type, view[5:], _si24(view, 2)),)


def _enhanced_video(view: memoryview) -> Iterator[VideoTag]:
    frame_type = view[0] >> 4 & 7
    packet_type, _, _ = _after_mod_ex(view, VideoPacketType.MOD_EX)
    if frame_type == FrameType.COMMAND and packet_type != VideoPacketType.METADATA:
        return
    for part in _split_enhanced(view, VideoPacketType.MOD_EX, VideoPacketType.MULTITRACK):
        if part.packet_type > VideoPacketType.MPEG2TS_SEQUENCE_START:
            raise MalformedTag(f"video packet type {part.packet_type}")
        body, composition_time_ms = part.body, 0
        if part.packet_type == VideoPacketType.CODED_FRAMES and part.fourcc in _WITH_COMPOSITION_TIME:
            if len(body) < 3:
                raise MalformedTag("coded frames without a composition time")
            body, composition_time_ms = body[3:], _si24(body, 0)
        yield VideoTag(
            VIDEO_FOURCCS.get(part.fourcc),
            _fourcc_name(part.fourcc),
            VideoPacketType(part.packet_type),
            frame_type,
            body,
            composition_time_ms,
            part.track_index,
            part.timestamp_offset_ns,
        )


def parse_audio(payload: Payload) -> tuple[AudioTag, ...]:
    """The tags of an audio message; none for the empty message, which means silence. Raises MalformedTag."""
    view = memoryview(payload)
    if not view:
        return ()
    if view[0] >> 4 == SoundFormat.EX_HEADER:
        return tuple(_enhanced_audio(view))
    return (_classic_audio(view),)


def _classic_audio(view: memoryview) -> AudioTag:
    sound_format, channels = view[0] >> 4, 1 + (view[0] & 1)
    codec = _CLASSIC_AUDIO.get(SoundFormat(sound_format)) if sound_format in _CLASSIC_AUDIO else None
    name = _CLASSIC_AUDIO_NAMES.get(sound_format, f"sound format {sound_format}")
    if codec is not Codec.AAC:
        return AudioTag(codec, name, AudioPacketType.CODED_FRAMES, view[1:], channels)
    if len(view) < 2:
        return AudioTag(codec, name, AudioPacketType.CODED_FRAMES, view[1:], channels)
    if view[1] > AudioPacketType.CODED_FRAMES:
        raise MalformedTag(f"AAC packet type {view[1]}")
    return AudioTag(codec, name, AudioPacketType(view[1]), view[2:], channels)


def _enhanced_audio(view: memoryview) -> Iterator[AudioTag]:
    for part in _split_enhanced(view, AudioPacketType.MOD_EX, AudioPacketType.MULTITRACK):
        if part.packet_type > AudioPacketType.MULTICHANNEL_CONFIG or part.packet_type == 3:
            raise MalformedTag(f"audio packet type {part.packet_type}")
        yield AudioTag(
            AUDIO_FOURCCS.get(part.fourcc),
            _fourcc_name(part.fourcc),
            AudioPacketType(part.packet_type),
            part.body,
            0,
            part.track_index,
            part.timestamp_offset_ns,
        )


def _split_enhanced(view: memoryview, mod_ex: int, multitrack: int) -> Iterator[_Part]:
    """The parts of an extended message, which audio and video build alike."""
    packet_type, nanoseconds, rest = _after_mod_ex(view, mod_ex)
    if packet_type != multitrack:
        fourcc, body = _take(rest, 4)
        yield _Part(bytes(fourcc), packet_type, 0, nanoseconds, body)
        return
    kind, rest = _take(rest, 1)
    layout, packet_type = kind[0] >> 4, kind[0] & 15
    if layout > MultitrackType.MANY_TRACKS_MANY_CODECS or packet_type in (multitrack, mod_ex):
        raise MalformedTag(f"multitrack type {layout} with packet type {packet_type}")
    fourcc = rest[:0]
    if layout != MultitrackType.MANY_TRACKS_MANY_CODECS:
        fourcc, rest = _take(rest, 4)
    while rest:
        if layout == MultitrackType.MANY_TRACKS_MANY_CODECS:
            fourcc, rest = _take(rest, 4)
        index, rest = _take(rest, 1)
        body, rest = rest, rest[:0]
        if layout != MultitrackType.ONE_TRACK:
            size, body = _take(body, 3)
            body, rest = _take(body, int.from_bytes(size, "big"))
        yield _Part(bytes(fourcc), packet_type, index[0], nanoseconds, body)


def _after_mod_ex(view: memoryview, mod_ex: int) -> tuple[int, int, memoryview]:
    """The packet type that modifiers leave, their timestamp offset in nanoseconds, and what follows them."""
    packet_type, nanoseconds, rest = view[0] & 15, 0, view[1:]
    while packet_type == mod_ex:
        size, rest = _take(rest, 1)
        size_bytes = size[0] + 1
        if size_bytes == 256:
            size, rest = _take(rest, 2)
            size_bytes = int.from_bytes(size, "big") + 1
        data, rest = _take(rest, size_bytes)
        kind, rest = _take(rest, 1)
        packet_type = kind[0] & 15
        if kind[0] >> 4 == _TIMESTAMP_OFFSET_NANO and size_bytes >= 3:
            nanoseconds = int.from_bytes(data[:3], "big")
    return packet_type, nanoseconds, rest


def _take(view: memoryview, size_bytes: int) -> tuple[memoryview, memoryview]:
    if len(view) < size_bytes:
        raise MalformedTag(f"{size_bytes} bytes wanted where {len(view)} are left")
    return view[:size_bytes], view[size_bytes:]


def _si24(view: memoryview, position: int) -> int:
    return int.from_bytes(view[position : position + 3], "big", signed=True)


def _fourcc_name(fourcc: bytes) -> str:
    return fourcc.decode("ascii", "backslashreplace")


class FrameHead(NamedTuple):
    """How an extended message of one track begins that holds a frame: five bytes, and what they mean."""

    head: bytes
    is_keyframe: bool
    has_composition_time: bool


def video_frame_heads(codec: Codec) -> Iterator[FrameHead]:
    """All heads of a video codec's frames, for receivers that want to know them at a glance."""
    fourcc = _FOURCC_OF[codec]
    for frame_type in (FrameType.KEY, FrameType.INTER):
        for packet_type in (VideoPacketType.CODED_FRAMES, VideoPacketType.CODED_FRAMES_X):
            is_timed = packet_type is VideoPacketType.CODED_FRAMES and fourcc in _WITH_COMPOSITION_TIME
            head = bytes((0x80 | frame_type << 4 | packet_type,)) + fourcc
            yield FrameHead(head, frame_type is FrameType.KEY, is_timed)


def audio_frame_head(codec: Codec) -> bytes:
    """The head of an audio codec's frames in extended messages."""
    return bytes((SoundFormat.EX_HEADER << 4 | AudioPacketType.CODED_FRAMES,)) + _FOURCC_OF[codec]


# ------------------------------------------------------------------------------------------ serializing


def video_header(
    codec: Codec,
    packet_type: VideoPacketType,
    *,
    is_keyframe: bool = True,
    composition_time_ms: int = 0,
    track_index: int = 0,
) -> bytes:
    """What precedes the body of a video message: classic for H.264 on track 0, else extended.

    Raises ValueError for a composition time beyond 24 bits and KeyError for a codec without a FourCC.
    """
    frame_type = FrameType.KEY if is_keyframe else FrameType.INTER
    if codec is Codec.H264 and track_index == 0:
        return bytes((frame_type << 4 | VIDEO_CODEC_AVC, packet_type)) + _pack_si24(composition_time_ms)
    has_composition_time = codec in (Codec.H264, Codec.H265)
    if packet_type == VideoPacketType.CODED_FRAMES and has_composition_time and not composition_time_ms:
        packet_type = VideoPacketType.CODED_FRAMES_X
    head = _extended_header(
        0x80 | frame_type << 4, packet_type, VideoPacketType.MULTITRACK, _FOURCC_OF[codec], track_index
    )
    if packet_type == VideoPacketType.CODED_FRAMES and has_composition_time:
        return head + _pack_si24(composition_time_ms)
    return head


def audio_header(
    codec: Codec,
    packet_type: AudioPacketType,
    *,
    track_index: int = 0,
    sample_rate: int = 44100,
    channels: int = 2,
) -> bytes:
    """What precedes the body of an audio message: extended where the classic header has no code for it.

    Raises KeyError for a codec without a FourCC on a further track.
    """
    if track_index == 0 and codec is Codec.AAC:
        # Whatever the rate, AAC says 44.1 kHz, 16 bits, stereo (E.4.2.1).
        return bytes((SoundFormat.AAC << 4 | 15, packet_type))
    if track_index == 0 and codec in _CLASSIC_IDS:
        return bytes((_classic_sound(codec, sample_rate, channels),))
    return _extended_header(
        SoundFormat.EX_HEADER << 4, packet_type, AudioPacketType.MULTITRACK, _FOURCC_OF[codec], track_index
    )


def can_carry(codec: Codec, track_index: int) -> bool:
    """Whether there is a code for it: without a FourCC, a codec can only be the first track of its kind."""
    return codec in _FOURCC_OF or (track_index == 0 and codec in _CLASSIC_IDS)


def metadata_codec_id(codec: Codec) -> int:
    """What onMetaData calls a codec: its classic number, else its FourCC as one."""
    classic = _CLASSIC_IDS.get(codec)
    return classic if classic is not None else int.from_bytes(_FOURCC_OF[codec], "big")


def _classic_sound(codec: Codec, sample_rate: int, channels: int) -> int:
    """The one byte of a classic AudioTagHeader: 16-bit samples, the rate as near as two bits can tell."""
    sound_format = _CLASSIC_IDS[codec]
    if codec is Codec.MP3 and sample_rate == 8000:
        sound_format = SoundFormat.MP3_8K
    rate = sum(sample_rate >= limit for limit in (11025, 22050, 44100))
    return sound_format << 4 | rate << 2 | 2 | (channels > 1)


def _extended_header(head: int, packet_type: int, multitrack: int, fourcc: bytes, track_index: int) -> bytes:
    if track_index == 0:
        return bytes((head | packet_type,)) + fourcc
    kind = MultitrackType.ONE_TRACK << 4 | packet_type
    return bytes((head | multitrack, kind)) + fourcc + bytes((track_index,))


def _pack_si24(value: int) -> bytes:
    if not -0x800000 <= value <= 0x7FFFFF:
        raise ValueError(f"a composition time of {value} ms does not fit into 24 bits")
    return (value & 0xFFFFFF).to_bytes(3, "big")


# ------------------------------------------------------------------------------------------- FLV files

FILE_HEADER_BYTES = 9
TAG_HEADER_BYTES = 11

_pack_tag_head = struct.Struct(">III3x").pack
_unpack_tag_head = struct.Struct(">II3x").unpack_from


class FileTag(NamedTuple):
    """One tag of an FLV file; `end` is where it ends in the bytes given, its trailing size included."""

    type_id: int
    timestamp_ms: int
    payload: memoryview
    end: int


def file_header(*, has_video: bool, has_audio: bool) -> bytes:
    """The header of an FLV file (E.2). What follows it is the first `tag_head`."""
    return b"FLV\x01" + bytes((has_audio << 2 | has_video,)) + FILE_HEADER_BYTES.to_bytes(4, "big")


def tag_head(previous_tag_bytes: int, type_id: int, timestamp_ms: int, size_bytes: int) -> bytes:
    """PreviousTagSize and the header of a tag (E.3, E.4.1), in the order in which they lie before its body.

    `previous_tag_bytes` counts the header: 0 for the first tag, else 11 more than the body before.
    """
    stamp = (timestamp_ms & 0xFFFFFF) << 8 | timestamp_ms >> 24 & 0xFF
    return _pack_tag_head(previous_tag_bytes, type_id << 24 | size_bytes, stamp)


def parse_file_header(data: Payload) -> int:
    """Where the first tag begins. Raises MalformedTag when this is no FLV file."""
    view = memoryview(data)
    if len(view) < FILE_HEADER_BYTES or bytes(view[:3]) != b"FLV":
        raise MalformedTag("no FLV file header")
    return max(int.from_bytes(view[5:9], "big"), FILE_HEADER_BYTES) + 4


def split_tags(data: Payload, position: int) -> Iterator[FileTag]:
    """The whole tags from a position on, without a torn one at the end. Raises MalformedTag for garbage."""
    view = memoryview(data)
    while position + TAG_HEADER_BYTES <= len(view):
        kind_and_size, stamp = _unpack_tag_head(view, position)
        type_id, size_bytes = kind_and_size >> 24 & 0x1F, kind_and_size & 0xFFFFFF
        if type_id not in (AUDIO_MESSAGE, VIDEO_MESSAGE, DATA_MESSAGE):
            raise MalformedTag(f"tag type {type_id} at byte {position}")
        start = position + TAG_HEADER_BYTES
        position = start + size_bytes + 4
        if position > len(view):
            return
        yield FileTag(type_id, stamp >> 8 | (stamp & 0xFF) << 24, view[start : start + size_bytes], position)
