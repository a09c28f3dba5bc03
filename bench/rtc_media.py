"""The clip that WebRTC publishers of the bench send, as RTP payloads: made once with FFmpeg and kept.

720p30 H.264 constrained baseline (or VP8) without B-frames, a key frame every two seconds, and Opus in
frames of 20 ms: eight seconds that can be looped without a seam.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import av
from clip import cache_dir

from aircheck.media import h264
from aircheck.wire.rtp.audio import AudioPacketizer
from aircheck.wire.rtp.h264 import H264Packetizer
from aircheck.wire.rtp.payload import Packetizer
from aircheck.wire.rtp.vp8 import Vp8Packetizer

DURATION_S = 8
VIDEO_CLOCK, AUDIO_CLOCK = 90_000, 48_000
MTU_BYTES = 1180
"""Leaves room for header extensions and the tag of SRTP."""

_ENCODERS = {
    "h264": "libx264 -preset veryfast -tune zerolatency -profile:v baseline -bf 0",
    "vp8": "libvpx -deadline realtime -cpu-used 8 -lag-in-frames 0 -auto-alt-ref 0",
}


@dataclass(frozen=True, slots=True)
class Unit:
    """One picture or one frame of sound: when it is due, and its RTP payloads."""

    due_s: float
    is_video: bool
    timestamp: int
    payloads: tuple[bytes, ...]


def load_units(codec: str, kbps: int) -> list[Unit]:
    """The units of one loop in the order in which they are due."""
    path = cache_dir() / f"bench-rtc-720p30-{codec}-{kbps}k-v1.mkv"
    if not path.exists():
        _make(path, codec, kbps)
    units = [*_pictures(path, codec), *_sound(path)]
    return sorted(units, key=lambda unit: unit.due_s)


def _pictures(path: Path, codec: str) -> list[Unit]:
    packetizer: Packetizer = H264Packetizer(MTU_BYTES) if codec == "h264" else Vp8Packetizer(MTU_BYTES)
    units = []
    with av.open(path) as container:
        sets = _parameter_sets(container.streams.video[0].codec_context.extradata or b"", codec)
        for number, packet in enumerate(container.demux(video=0)):
            if packet.size:
                frame = (sets if packet.is_keyframe else b"") + bytes(packet)
                payloads = packetizer.packetize(frame, is_keyframe=packet.is_keyframe)
                units.append(Unit(number / 30, True, number * VIDEO_CLOCK // 30, tuple(payloads)))
    return units


def _parameter_sets(config: bytes, codec: str) -> bytes:
    """Length-prefixed, before each key frame, as browsers send them."""
    if codec != "h264":
        return b""
    parsed = h264.parse_config(config)
    return b"".join(len(unit).to_bytes(4, "big") + unit for unit in (*parsed.sps, *parsed.pps))


def _sound(path: Path) -> list[Unit]:
    units = []
    with av.open(path) as container:
        frames = [bytes(packet) for packet in container.demux(audio=0) if packet.size]
    for number, frame in enumerate(frames[: DURATION_S * 50]):
        payloads = AudioPacketizer().packetize(frame, is_keyframe=True)
        units.append(Unit(number / 50, False, number * AUDIO_CLOCK // 50, tuple(payloads)))
    return units


def _make(path: Path, codec: str, kbps: int) -> None:
    part = path.with_name(f"{path.stem}.part.mkv")
    sources = [
        *["-f", "lavfi", "-i", f"testsrc2=size=1280x720:rate=30:duration={DURATION_S},noise=alls=12:allf=t"],
        *["-f", "lavfi", "-i", f"sine=frequency=440:sample_rate=48000:duration={DURATION_S}"],
    ]
    rate = f"-b:v {kbps}k -maxrate {kbps}k -bufsize {kbps // 2}k -g 60"
    video = f"-pix_fmt yuv420p -c:v {_ENCODERS[codec]} {rate} -frames:v {DURATION_S * 30}"
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-y",
        *sources,
        *video.split(),
        *["-c:a", "libopus", "-b:a", "48k"],
        str(part),
    ]
    subprocess.run(command, check=True)
    part.rename(path)
