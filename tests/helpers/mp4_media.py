"""Real media for the MP4 tests: small clips made by ffmpeg, taken apart, and judges of the result."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av

from aircheck.media.packet import Packet
from aircheck.media.track import Codec, Track

SIZE = "160x96"
_AUDIO_SOURCE = ("-f", "lavfi", "-i", "sine=440:r=48000")

_VIDEO = {
    "h264": ("libx264", "-preset", "ultrafast", "-bf", "2", "-g", "25", "-x264-params", "b-adapt=0"),
    "h264_carried": (
        "libx264",
        "-preset",
        "ultrafast",
        "-bf",
        "2",
        "-g",
        "25",
        "-x264-params",
        "repeat-headers=1",
    ),
    "h265_carried": (
        "libx265",
        "-preset",
        "ultrafast",
        "-g",
        "25",
        "-x265-params",
        "log-level=error:repeat-headers=1",
        "-tag:v",
        "hvc1",
    ),
    "h264_plain": ("libx264", "-preset", "ultrafast", "-bf", "0", "-g", "25"),
    "h265": (
        "libx265",
        "-preset",
        "ultrafast",
        "-g",
        "25",
        "-x265-params",
        "log-level=error",
        "-tag:v",
        "hvc1",
    ),
    "av1": ("libsvtav1", "-preset", "12", "-g", "25"),
    "vp9": ("libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "25"),
}
_AUDIO = {
    "aac": ("aac", "-ac", "2"),
    "opus": ("libopus", "-ac", "2"),
    "mp3": ("libmp3lame", "-ac", "2"),
    "flac": ("flac", "-strict", "experimental", "-ac", "2"),
    "ac3": ("ac3", "-ac", "2"),
}

_CODECS = {"hevc": Codec.H265, "mp3float": Codec.MP3}
_VP9_CONFIG = bytes((0, 10, 0x82, 2, 2, 2, 0, 0))


@dataclass(frozen=True, slots=True)
class Clip:
    """Tracks, their packets in the order of the file, and the file they came from."""

    path: Path
    tracks: tuple[Track, ...]
    packets: tuple[Packet, ...]


@dataclass(frozen=True, slots=True)
class Demuxed:
    """One packet as libavformat reads it from a file; times in seconds."""

    stream: int
    pts: Fraction
    dts: Fraction
    is_keyframe: bool
    data: bytes


def make_clip(folder: Path, *codecs: str, seconds: int = 3, size: str = SIZE) -> Clip:
    """A clip with one track per name, e.g. "h264", "aac", and a key frame a second."""
    path = folder / f"{'_'.join(codecs)}_{size}.mp4"
    video_source = ("-f", "lavfi", "-i", f"testsrc2=s={size}:r=25")
    inputs, maps = [], []
    for position, name in enumerate(codecs):
        kind, table, source = ("v", _VIDEO, video_source) if name in _VIDEO else ("a", _AUDIO, _AUDIO_SOURCE)
        inputs += source
        encoder, *options = table[name]
        same = sum(other in table for other in codecs[:position])
        maps += ["-map", f"{position}:{kind}", f"-c:{kind}:{same}", encoder, *options]
    _run("ffmpeg", "-v", "error", "-y", *inputs, *maps, "-t", str(seconds), str(path))
    return read_clip(path)


def read_clip(path: Path) -> Clip:
    with av.open(str(path)) as container:
        tracks = tuple(map(_track_of, container.streams))
        packets = tuple(
            Packet(tracks[packet.stream.index], packet.pts, packet.dts, packet.is_keyframe, bytes(packet))
            for packet in container.demux()
            if packet.size
        )
    return Clip(path, tracks, packets)


def _track_of(stream: av.stream.Stream) -> Track:
    context = stream.codec_context
    name = context.codec.canonical_name
    codec = _CODECS.get(name) or Codec(name)
    config = bytes(context.extradata or b"")
    if codec is Codec.VP9:
        config = _VP9_CONFIG
    if stream.type == "video":
        return Track(stream.index, codec, stream.time_base.denominator, config, context.width, context.height)
    rate = context.sample_rate
    return Track(
        stream.index,
        codec,
        stream.time_base.denominator,
        config,
        sample_rate=rate,
        channels=context.layout.nb_channels,
    )


def remux(clip: Clip, path: Path) -> None:
    """The oracle: the same packets through libavformat's plain MP4 muxer."""
    with av.open(str(clip.path)) as source, av.open(str(path), "w", format="mp4") as target:
        streams = [target.add_stream_from_template(stream, opaque=True) for stream in source.streams]
        for packet in source.demux():
            if packet.size:
                packet.stream = streams[packet.stream.index]
                target.mux_one(packet)


def demux(path: Path) -> list[list[Demuxed]]:
    """All packets of each stream."""
    with av.open(str(path)) as container:
        streams: list[list[Demuxed]] = [[] for _ in container.streams]
        for packet in container.demux():
            if packet.size:
                base = packet.time_base
                found = Demuxed(
                    packet.stream.index,
                    packet.pts * base,
                    packet.dts * base,
                    packet.is_keyframe,
                    bytes(packet),
                )
                streams[packet.stream.index].append(found)
    return streams


def shifted(packets: Iterable[Packet], seconds: int) -> list[Packet]:
    """The packets as they would be some time later in a stream."""
    return [
        replace(
            packet,
            pts=packet.pts + seconds * packet.track.timescale,
            dts=packet.dts + seconds * packet.track.timescale,
        )
        for packet in packets
    ]


def batches(packets: Sequence[Packet], size: int = 15) -> list[Sequence[Packet]]:
    return [packets[start : start + size] for start in range(0, len(packets), size)]


def ffmpeg_complaints(path: Path) -> str:
    """What ffmpeg has to say while it decodes everything; nothing, for a good file."""
    return _run("ffmpeg", "-v", "warning", "-i", str(path), "-f", "null", "-")


def start_times(path: Path) -> list[float]:
    """ffprobe's start time of each stream."""
    text = _stdout(
        "ffprobe", "-v", "error", "-show_entries", "stream=start_time", "-of", "csv=p=0", str(path)
    )
    return [float(line.strip(",")) for line in text.split()]


def _run(*command: str) -> str:
    """What the command says on stderr."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def _stdout(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout
