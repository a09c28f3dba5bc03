"""Pictures for browsers that cannot show them as they are: to H.264 without B-frames.

WebRTC has one time for each picture and browsers show pictures in the order of arrival, so B-frames would
jump back and forth. This costs a good part of a core; nothing but viewers who need it lets it happen.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import av
from av.codec.context import CodecContext, Flags
from av.video.frame import PictureType

from aircheck.errors import ContainerError
from aircheck.media.packet import Packet
from aircheck.media.track import Codec, Track

KEYFRAME_INTERVAL_S = 2
MAX_BITS_PER_S = 6_000_000
_DECODERS = {
    Codec.H264: "h264",
    Codec.H265: "hevc",
    Codec.VP8: "vp8",
    Codec.VP9: "vp9",
    Codec.AV1: "libdav1d",
}
_ASSUMED_FRAMES_PER_S = 30


def can_decode_video(codec: Codec) -> bool:
    return codec in _DECODERS


class VideoTranscoder:
    """Transcodes one track to constrained baseline, frame by frame without delay of its own.

    May be used by any thread, by one at a time. Times and timescale are the source's.
    """

    def __init__(self, source: Track) -> None:
        """Raises ContainerError when the source's configuration makes no sense."""
        self.failed_packets = 0
        self.wants_keyframe = False
        """Set by anybody: the next picture is to be a key frame."""
        self._source = source
        self._decoder = _open_decoder(source)
        self._encoder: Any = None
        self._track: Track | None = None
        self._last_pts: int | None = None

    def feed(self, packets: Iterable[Packet]) -> list[Packet]:
        """What these packets (all of one track) yield, in order of time. Never raises for what they hold."""
        out: list[Packet] = []
        for packet in packets:
            try:
                out += self._take(packet)
            except (av.FFmpegError, ValueError, ContainerError):
                self.failed_packets += 1
        return out

    def _take(self, packet: Packet) -> list[Packet]:
        if packet.track is not self._source:
            self._source, self._decoder = packet.track, _open_decoder(packet.track)
        data: Any = bytes(packet.data)
        encoded = av.Packet(data)
        encoded.pts, encoded.dts = packet.pts, packet.dts
        encoded.time_base = Fraction(1, self._source.timescale)
        return [made for frame in self._decoder.decode(encoded) for made in self._encode(frame)]

    def _encode(self, frame: Any) -> list[Packet]:
        if frame.pts is None or (self._last_pts is not None and frame.pts <= self._last_pts):
            return []
        self._last_pts = frame.pts
        if self._encoder is None or (frame.width, frame.height) != (
            self._encoder.width,
            self._encoder.height,
        ):
            self._open_encoder(frame)
        frame = frame.reformat(format="yuv420p")
        is_wanted, self.wants_keyframe = self.wants_keyframe, False
        frame.pict_type = PictureType.I if is_wanted else PictureType.NONE
        frame.time_base = Fraction(1, self._source.timescale)
        assert self._track is not None
        return [
            Packet(self._track, one.pts, one.pts, one.is_keyframe, bytes(one))
            for one in self._encoder.encode(frame)
        ]

    def _open_encoder(self, frame: Any) -> None:
        encoder: Any = CodecContext.create("libx264", "w")
        encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, "yuv420p"
        encoder.time_base = Fraction(1, self._source.timescale)
        encoder.framerate = Fraction(_ASSUMED_FRAMES_PER_S)
        encoder.gop_size = KEYFRAME_INTERVAL_S * _ASSUMED_FRAMES_PER_S
        encoder.max_b_frames = 0
        encoder.flags |= Flags.global_header
        # annexb=0: access units with length prefixes, as all our streams have them.
        limits = f"vbv-maxrate={MAX_BITS_PER_S // 1000}:vbv-bufsize={MAX_BITS_PER_S // 1000}"
        encoder.options = {
            "preset": "superfast",
            "tune": "zerolatency",
            "profile": "baseline",
            "crf": "23",
            "forced-idr": "1",
            "x264-params": f"annexb=0:repeat-headers=0:scenecut=0:{limits}",
        }
        try:
            encoder.open()
        except (av.FFmpegError, ValueError) as error:
            raise ContainerError(
                f"pictures cannot be encoded: {error}",
                remedy="the installed av wheel lacks libx264: reinstall av from PyPI",
            ) from error
        self._encoder = encoder
        self._track = Track(
            self._source.id,
            Codec.H264,
            self._source.timescale,
            bytes(encoder.extradata or b""),
            width=frame.width,
            height=frame.height,
        )


def _open_decoder(track: Track) -> Any:
    name = _DECODERS.get(track.codec)
    if name is None:
        raise ContainerError(f"pictures in {track.codec} cannot be decoded", remedy="publish H.264")
    try:
        decoder: Any = CodecContext.create(name, "r")
        if track.config and track.codec in (Codec.H264, Codec.H265, Codec.AV1):
            decoder.extradata = track.config
        decoder.thread_count = 1
        decoder.open()
    except (av.FFmpegError, ValueError) as error:
        raise ContainerError(f"the pictures' configuration makes no sense: {error}") from error
    return decoder
