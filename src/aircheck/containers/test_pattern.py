"""A test pattern that is made, not found: H.264 with B-frames and AAC, encoded packet by packet.

At each full second the picture flashes and a beep sounds, both for a tenth of a second and from the same
instant. Whoever records it can prove with `containers.verify` that picture and sound are still together.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.codec.context import CodecContext, Flags

from aircheck.containers.pattern_canvas import PatternCanvas
from aircheck.errors import ContainerError
from aircheck.media.packet import Packet
from aircheck.media.track import Codec, Track

VIDEO_TIMESCALE = 90_000
AAC_FRAME_SAMPLES = 1024
BEEP_HZ = 1000
_BEEP_AMPLITUDE = 0.25
_B_FRAMES = 2


@dataclass(frozen=True, slots=True)
class Pattern:
    """What to make. Sizes are even; the frame rate divides `VIDEO_TIMESCALE` and is a multiple of ten."""

    duration_s: int = 10
    width: int = 1280
    height: int = 720
    frames_per_second: int = 30
    gop_s: int = 2
    video_bits_per_s: int = 1_500_000
    sample_rate: int = 48_000
    audio_bits_per_s: int = 96_000

    @property
    def frames(self) -> int:
        return self.duration_s * self.frames_per_second

    @property
    def flash_frames(self) -> int:
        return self.frames_per_second // 10

    @property
    def audio_frames(self) -> int:
        """AAC frames that carry the sound; the encoder adds one of priming before them."""
        return math.ceil(self.duration_s * self.sample_rate / AAC_FRAME_SAMPLES)

    @property
    def shift_frames(self) -> int:
        """Video frames by which all times are moved, so that reordering and priming do not go below zero."""
        return _B_FRAMES


@dataclass(frozen=True, slots=True)
class EncodedPattern:
    """The pattern as a stream: its tracks, and all packets in the order of their dts."""

    video: Track
    audio: Track
    packets: tuple[Packet, ...]

    def packets_of(self, track: Track) -> int:
        return sum(packet.track is track for packet in self.packets)


def encode_pattern(pattern: Pattern) -> EncodedPattern:
    """Draw and encode the pattern; about two seconds of CPU at the defaults. Raises ContainerError."""
    try:
        video, video_packets = _encode_video(pattern)
        audio, audio_packets = _encode_audio(pattern)
    except (av.FFmpegError, ValueError) as error:
        raise ContainerError(
            f"the test pattern cannot be encoded: {error}",
            remedy="the installed av wheel lacks libx264 or AAC: reinstall av from PyPI",
        ) from error
    packets = sorted(video_packets + audio_packets, key=_decode_time)
    return EncodedPattern(video, audio, tuple(packets))


def _decode_time(packet: Packet) -> Fraction:
    return Fraction(packet.dts, packet.track.timescale)


def _encode_video(pattern: Pattern) -> tuple[Track, list[Packet]]:
    encoder = _open_video_encoder(pattern)
    encoded = [packet for frame in _pictures(pattern) for packet in encoder.encode(frame)]
    encoded += encoder.encode(None)
    config = bytes(encoder.extradata or b"")
    track = Track(1, Codec.H264, VIDEO_TIMESCALE, config, width=pattern.width, height=pattern.height)
    ticks = VIDEO_TIMESCALE // pattern.frames_per_second
    return track, _packets(track, encoded, ticks, pattern.shift_frames * ticks)


def _open_video_encoder(pattern: Pattern) -> Any:
    encoder: Any = CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = pattern.width, pattern.height, "yuv420p"
    encoder.time_base = Fraction(1, pattern.frames_per_second)
    encoder.framerate = Fraction(pattern.frames_per_second)
    encoder.gop_size = pattern.gop_s * pattern.frames_per_second
    encoder.max_b_frames = _B_FRAMES
    encoder.bit_rate = pattern.video_bits_per_s
    encoder.flags |= Flags.global_header
    colours = "colorprim=bt709:transfer=bt709:colormatrix=bt709"
    # annexb=0: access units with length prefixes and an AVCDecoderConfigurationRecord, as RTMP and MP4 want.
    parameters = f"annexb=0:scenecut=0:keyint={encoder.gop_size}:min-keyint={encoder.gop_size}:{colours}"
    encoder.options = {"preset": "veryfast", "profile": "high", "x264-params": parameters}
    return encoder


def _pictures(pattern: Pattern) -> Iterator[Any]:
    canvas: PatternCanvas | None = None
    for index in range(pattern.frames):
        frame: Any = av.VideoFrame(pattern.width, pattern.height, "yuv420p")
        if canvas is None:
            luma, blue, red = (plane.line_size for plane in frame.planes)
            rate = pattern.frames_per_second
            canvas = PatternCanvas(pattern.width, pattern.height, rate, pattern.frames, (luma, blue, red))
        is_flash = index % pattern.frames_per_second < pattern.flash_frames
        for plane, data in zip(frame.planes, canvas.draw(index, is_flash=is_flash), strict=True):
            plane.update(data)
        frame.pts = index
        frame.time_base = Fraction(1, pattern.frames_per_second)
        yield frame


def _encode_audio(pattern: Pattern) -> tuple[Track, list[Packet]]:
    encoder = _open_audio_encoder(pattern)
    encoded = [packet for frame in _sounds(pattern) for packet in encoder.encode(frame)]
    encoded += encoder.encode(None)
    config = bytes(encoder.extradata or b"")
    track = Track(2, Codec.AAC, pattern.sample_rate, config, sample_rate=pattern.sample_rate, channels=1)
    shift = pattern.shift_frames * pattern.sample_rate // pattern.frames_per_second
    return track, _packets(track, encoded, 1, shift)


def _open_audio_encoder(pattern: Pattern) -> Any:
    encoder: Any = CodecContext.create("aac", "w")
    encoder.sample_rate, encoder.layout, encoder.format = pattern.sample_rate, "mono", "fltp"
    encoder.time_base = Fraction(1, pattern.sample_rate)
    encoder.bit_rate = pattern.audio_bits_per_s
    encoder.flags |= Flags.global_header
    return encoder


def _sounds(pattern: Pattern) -> Iterator[Any]:
    sound = _one_second(pattern) * pattern.duration_s + _silence(AAC_FRAME_SAMPLES)
    for index in range(pattern.audio_frames):
        start = index * AAC_FRAME_SAMPLES
        frame: Any = av.AudioFrame("fltp", "mono", AAC_FRAME_SAMPLES)
        frame.planes[0].update(sound[start : start + AAC_FRAME_SAMPLES].tobytes())
        frame.sample_rate = pattern.sample_rate
        frame.pts = start
        frame.time_base = Fraction(1, pattern.sample_rate)
        yield frame


def _one_second(pattern: Pattern) -> array[float]:
    """A beep as long as the flash, then silence. Its first sample is not zero, so that its onset is sharp."""
    beep_samples = pattern.flash_frames * pattern.sample_rate // pattern.frames_per_second
    step = 2 * math.pi * BEEP_HZ / pattern.sample_rate
    beep = array("f", (_BEEP_AMPLITUDE * math.cos(step * i) for i in range(beep_samples)))
    return beep + _silence(pattern.sample_rate - beep_samples)


def _silence(samples: int) -> array[float]:
    return array("f", bytes(4 * samples))


def _packets(track: Track, encoded: list[Any], ticks: int, shift: int) -> list[Packet]:
    """`ticks` of the track make one tick of the encoder; `shift` is added to both times."""
    return [
        Packet(
            track, packet.pts * ticks + shift, packet.dts * ticks + shift, packet.is_keyframe, bytes(packet)
        )
        for packet in encoded
    ]
