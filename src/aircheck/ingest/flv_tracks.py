"""What FLV tags tell of their tracks: in a sequence header, or in a frame that needs none."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from aircheck.media import aac, ac3, av1, flac, h264, h265, mp3, opus, speex, vp8, vp9
from aircheck.media.bits import BitstreamError
from aircheck.media.packet import Payload
from aircheck.media.track import Codec, Track

VIDEO_TIMESCALE = 1000
G711_SAMPLE_RATE = 8000

CODECS_WITH_HEADER = frozenset((Codec.H264, Codec.H265, Codec.AV1, Codec.AAC, Codec.OPUS, Codec.FLAC))
"""A sequence header of these describes the track; the others wait for a frame that says more."""

_DESCRIBED_BY_KEYFRAMES = frozenset((Codec.VP8, Codec.VP9))
_DESCRIBED_BY_FRAMES = frozenset((Codec.MP3, Codec.AC3, Codec.PCMA, Codec.PCMU))


def is_described_by_frame(codec: Codec, *, is_keyframe: bool) -> bool:
    """Whether each such frame carries what `describe` wants to know, so that a change shows there."""
    return codec in _DESCRIBED_BY_FRAMES or (is_keyframe and codec in _DESCRIBED_BY_KEYFRAMES)


def config_of_header(codec: Codec, body: Payload) -> bytes:
    """`Track.config` from the body of a sequence header. Raises BitstreamError."""
    match codec:
        case Codec.VP9:
            return vp9.strip_full_box_header(body)
        case Codec.FLAC:
            return flac.without_totals(flac.find_stream_info(body))
        case _:
            return bytes(body)


def config_of_frame(codec: Codec, frame: Payload, channels: int) -> bytes:
    """`Track.config` where a frame can stand in for the header that did not come, else nothing.

    Raises BitstreamError.
    """
    match codec:
        case Codec.AAC:
            return aac.parse_adts_config(frame) if aac.is_adts(frame) else b""
        case Codec.AV1:
            return av1.config_of_temporal_unit(frame)
        case Codec.OPUS:
            return opus.build_head(channels or 2)
        case Codec.VP9:
            return vp9.build_config(vp9.parse_frame_header(frame))
        case _:
            return b""


def describe(track_id: int, codec: Codec, config: bytes, frame: Payload, channels: int) -> Track:
    """The track that a configuration makes or, for codecs described by their frames, a frame.

    Raises BitstreamError.
    """
    return (_describe_video if codec.kind == "video" else _describe_audio)(
        track_id, codec, config, frame, channels
    )


def _describe_video(track_id: int, codec: Codec, config: bytes, frame: Payload, _channels: int) -> Track:
    match codec:
        case Codec.H264:
            h264.parse_config(config)
            width, height = _size_or_zero(h264.picture_size, config)
        case Codec.H265:
            h265.parse_config(config)
            width, height = _size_or_zero(h265.picture_size, config)
        case Codec.AV1:
            width, height = av1.picture_size(config)
        case Codec.VP8:
            width, height = vp8.parse_key_frame(frame)
        case _:
            header = vp9.parse_frame_header(frame)
            width, height = header.width, header.height
    return Track(track_id, codec, VIDEO_TIMESCALE, config, width, height)


def _size_or_zero(picture_size: Callable[[bytes], tuple[int, int]], config: bytes) -> tuple[int, int]:
    """Width and height; 0 x 0 where we cannot tell, because a decoder may understand what we do not."""
    try:
        return picture_size(config)
    except BitstreamError:
        return 0, 0


def _describe_audio(track_id: int, codec: Codec, config: bytes, frame: Payload, channels: int) -> Track:
    rate = played_rate = 0
    match codec:
        case Codec.AAC:
            specific = aac.parse_config(config)
            rate, played_rate, channels = specific.core_sample_rate, specific.sample_rate, specific.channels
        case Codec.OPUS:
            rate, channels = opus.SAMPLE_RATE, opus.parse_head(config).channels
        case Codec.FLAC:
            info = flac.parse_stream_info(config)
            rate, channels = info.sample_rate, info.channels
        case Codec.MP3:
            header = mp3.parse_header(frame)
            rate, channels = header.sample_rate, header.channels
        case Codec.AC3:
            sync = ac3.parse_header(frame)
            rate, channels = sync.sample_rate, sync.channels
        case Codec.SPEEX:
            rate, channels = speex.WIDEBAND_RATE, 1  # whatever the tag says (FLV, E.4.2.1)
        case Codec.PCMA | Codec.PCMU:
            rate = G711_SAMPLE_RATE
        case _:
            raise BitstreamError(f"{codec} is no audio codec of FLV")
    return Track(track_id, codec, rate, config, sample_rate=played_rate or rate, channels=channels)


def fixed_frame_samples(track: Track) -> int:
    """Samples of every frame of an audio track; 0 where each frame says for itself."""
    return aac.parse_config(track.config).frame_samples if track.codec is Codec.AAC else 0


def split_frames(track: Track, body: memoryview, frame_samples: int) -> Iterable[tuple[Payload, int]]:
    """The audio frames in a tag with the samples of each. Raises BitstreamError."""
    match track.codec:
        case Codec.AAC:
            if not aac.is_adts(body):
                return ((body, frame_samples),)
            return ((frame, frame_samples) for frame in aac.split_adts(body))
        case Codec.OPUS:
            return ((body, opus.packet_samples(body)),)
        case Codec.FLAC:
            return ((body, flac.frame_samples(body, track.config)),)
        case Codec.MP3:
            return mp3.split_frames(body)
        case Codec.AC3:
            return ac3.split_frames(body)
        case Codec.SPEEX:
            return ((body, speex.packet_frames(body) * speex.WIDEBAND_FRAME_SAMPLES),)
        case _:
            return ((body, len(body) // (track.channels or 1)),)
