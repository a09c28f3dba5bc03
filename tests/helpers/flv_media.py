"""FLV made and read by libavformat: the independent opinion on what our FLV code says.

`encode` keeps the encoders' own packets beside the file, so that a test knows the times before FLV rounded
them to milliseconds.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any, NamedTuple

import av

from aircheck.wire import flv

FRAMES_PER_SECOND = 25
_VIDEO_OPTIONS = {
    "libx264": {"preset": "ultrafast", "bf": "2", "b_strategy": "0", "g": "10", "sc_threshold": "0"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:bframes=2:keyint=10"},
    "libsvtav1": {"preset": "12", "svtav1-params": "keyint=10"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "g": "10", "lag-in-frames": "0"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8", "g": "10"},
}


class Encoded(NamedTuple):
    """A packet as the encoder gave it. Times are seconds."""

    stream: int
    pts_s: Fraction
    dts_s: Fraction
    is_keyframe: bool
    data: bytes


@dataclass(frozen=True)
class Clip:
    data: bytes
    encoded: tuple[Encoded, ...]

    def messages(self) -> list[tuple[int, int, bytes]]:
        """The file's tags as RTMP would carry them."""
        start = flv.parse_file_header(self.data)
        return [
            (tag.type_id, tag.timestamp_ms, bytes(tag.payload)) for tag in flv.split_tags(self.data, start)
        ]


@cache
def encode(
    *codecs: str,
    frames: int = 30,
    size: tuple[int, int] = (64, 48),
    rate: int = 48000,
    container: str = "flv",
) -> Clip:
    """One stream for each encoder named, `frames` pictures long, in a file."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        streams = [_add_stream(output, codec, size, rate) for codec in codecs]
        packets = [
            (position, packet)
            for position, stream in enumerate(streams)
            for packet in _encode_stream(stream, frames, rate)
        ]
        # The muxer rescales the packets it is given: note them first.
        encoded = tuple(_note(position, packet) for position, packet in packets)
        for _, packet in sorted(packets, key=lambda entry: entry[1].dts * entry[1].time_base):
            output.mux(packet)
    return Clip(file.getvalue(), encoded)


def _add_stream(output: Any, codec: str, size: tuple[int, int], rate: int) -> Any:
    if codec not in _VIDEO_OPTIONS:
        return output.add_stream(codec, rate=rate)
    stream = output.add_stream(codec, rate=FRAMES_PER_SECOND, options=_VIDEO_OPTIONS[codec])
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p"
    return stream


def _encode_stream(stream: Any, frames: int, rate: int) -> list[Any]:
    packets = []
    if stream.type == "video":
        for number in range(frames):
            picture = av.VideoFrame(stream.width, stream.height, "yuv420p")
            for plane in picture.planes:
                plane.update(bytes((number * 7 + i // 64) & 0xFF for i in range(plane.buffer_size)))
            picture.pts = number
            packets += stream.encode(picture)
    else:
        context = stream.codec_context
        samples = context.frame_size or 1024
        for number in range(frames * rate // FRAMES_PER_SECOND // samples + 1):
            sound = av.AudioFrame(context.format.name, context.layout.name, samples)
            sound.sample_rate, sound.pts = rate, number * samples
            for plane in sound.planes:
                plane.update(bytes((number + i) & 7 for i in range(plane.buffer_size)))
            packets += stream.encode(sound)
    return packets + stream.encode()


def _note(position: int, packet: Any) -> Encoded:
    base = packet.time_base
    return Encoded(position, packet.pts * base, packet.dts * base, packet.is_keyframe, bytes(packet))


class Demuxed(NamedTuple):
    """A packet as libavformat reads it from FLV; times are milliseconds."""

    kind: str
    pts_ms: int
    dts_ms: int
    is_keyframe: bool
    data: bytes


def demux(data: bytes) -> tuple[list[Any], list[Demuxed]]:
    """What libavformat reads: codec name and extradata of each stream, then the packets."""
    with av.open(io.BytesIO(data), format="flv") as source:
        packets = [
            Demuxed(packet.stream.type, packet.pts, packet.dts, packet.is_keyframe, bytes(packet))
            for packet in source.demux()
            if packet.pts is not None and packet.stream.type in ("video", "audio")
        ]
        streams = [
            (stream.codec_context.name, bytes(stream.codec_context.extradata or b""))
            for stream in source.streams
            if stream.type in ("video", "audio")
        ]
    return streams, packets


def write_file(messages: list[tuple[int, int, bytes]]) -> bytes:
    """Messages as an FLV file."""
    parts = [flv.file_header(has_video=True, has_audio=True)]
    previous = 0
    for type_id, timestamp_ms, body in messages:
        parts += [flv.tag_head(previous, type_id, timestamp_ms, len(body)), body]
        previous = flv.TAG_HEADER_BYTES + len(body)
    return b"".join(parts) + previous.to_bytes(4, "big")
