"""The clip that every publisher of the bench sends: made once with FFmpeg, kept in the user's cache.

2.5 Mbit/s 720p30 H.264 High with B-frames and a key frame every two seconds, AAC 48 kHz. It lasts 16 s
because both 480 video frames and 750 audio frames fill that time exactly: it can be looped without a seam.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CLIP_NAME = "bench-720p30-2500k-v1.flv"
DURATION_MS = 16_000
FRAMES_PER_SECOND = 30
VIDEO_FRAMES = 480
AUDIO_FRAMES = 750

AUDIO, VIDEO, DATA = 8, 9, 18
_CONFIGURATIONS = (0, 4)
"""Sequence headers; in Enhanced RTMP also colours and the layout of channels."""
_SEQUENCE_END = 2
_TAG_HEADER_BYTES = 11
_PREVIOUS_SIZE_BYTES = 4
_FLV_HEADER_BYTES = 9


@dataclass(frozen=True, slots=True)
class Message:
    """One FLV tag, which is one RTMP message. `timestamp_ms` counts from the start of the clip."""

    type_id: int
    timestamp_ms: int
    payload: bytes

    @property
    def is_configuration(self) -> bool:
        """Metadata and decoder configurations: sent once, before the media."""
        return self.type_id == DATA or packet_type(self.type_id, self.payload) in _CONFIGURATIONS


@dataclass(frozen=True, slots=True)
class Clip:
    """What is sent once, and the media that is sent again and again."""

    configuration: tuple[Message, ...]
    media: tuple[Message, ...]
    duration_ms: int
    """After this time the media may begin again."""


def load_clip() -> Clip:
    """The clip, made at the first call (some ten seconds of CPU)."""
    path = cache_dir() / CLIP_NAME
    if not path.exists():
        _make(path)
    return read_clip(path, DURATION_MS, VIDEO_FRAMES, AUDIO_FRAMES)


def read_clip(path: Path, duration_ms: int, video_frames: int, audio_frames: int) -> Clip:
    """A clip from an FLV file: its first frames, as many as fill `duration_ms`."""
    messages = list(_read_tags(path.read_bytes()))
    configuration = tuple(message for message in messages if message.is_configuration)
    video = [m for m in messages if m.type_id == VIDEO and not m.is_configuration][:video_frames]
    audio = [m for m in messages if m.type_id == AUDIO and not m.is_configuration][:audio_frames]
    media = sorted(video + audio, key=lambda message: message.timestamp_ms)
    return Clip(configuration, tuple(media), duration_ms)


def cache_dir() -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aircheck"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _make(path: Path) -> None:
    """Noise over a moving pattern: without it the encoder would not use the bits it is given."""
    partial = path.with_suffix(".partial.flv")
    # A little more than needed: the encoder of FFmpeg begins with a priming frame.
    seconds = f"{DURATION_MS / 1000 + 0.5}"
    picture = f"testsrc2=size=1280x720:rate={FRAMES_PER_SECOND},noise=alls=24:allf=t"
    encode_video = (
        f"-c:v libx264 -preset veryfast -profile:v high -pix_fmt yuv420p -bf 2 -g {2 * FRAMES_PER_SECOND} "
        f"-keyint_min {2 * FRAMES_PER_SECOND} -sc_threshold 0 -b:v 2500k -maxrate 2500k -bufsize 2500k"
    )
    encode_audio = "-c:a aac -b:a 128k -ar 48000 -ac 2"
    command = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", picture]
    command += ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000", "-t", seconds]
    command += [*encode_video.split(), *encode_audio.split(), "-f", "flv", str(partial)]
    subprocess.run(command, check=True, timeout=300)
    partial.rename(path)


def _read_tags(data: bytes) -> Iterator[Message]:
    offset = _FLV_HEADER_BYTES + _PREVIOUS_SIZE_BYTES
    while offset + _TAG_HEADER_BYTES <= len(data):
        type_id = data[offset]
        size_bytes = int.from_bytes(data[offset + 1 : offset + 4], "big")
        timestamp_ms = int.from_bytes(data[offset + 4 : offset + 7], "big") | data[offset + 7] << 24
        start = offset + _TAG_HEADER_BYTES
        payload = data[start : start + size_bytes]
        if type_id == DATA or packet_type(type_id, payload) != _SEQUENCE_END:
            yield Message(type_id, timestamp_ms, payload)
        offset = start + size_bytes + _PREVIOUS_SIZE_BYTES


def packet_type(type_id: int, payload: bytes) -> int:
    """Of a message of audio or video, classic (H.264, AAC) or Enhanced RTMP."""
    is_extended = payload[0] & 0x80 if type_id == VIDEO else payload[0] >> 4 == 9
    return payload[0] & 0x0F if is_extended else payload[1]
