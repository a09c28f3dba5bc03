"""Source clips for the interop tests, made by FFmpeg once per test session.

Clips are FLV: RTMP carries FLV's times and payloads, so what a server recorded can be compared with the clip
packet by packet.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

_MAKE_TIMEOUT_S = 120


@dataclass(frozen=True)
class ClipSpec:
    """What a clip holds. `video` and `audio` are names of FFmpeg encoders, empty for none."""

    name: str
    seconds: int = 4
    video: str = "libx264"
    audio: str = "aac"
    b_frames: int = 0
    frames_per_second: int = 30
    size: str = "320x180"
    sample_rate: int = 48_000
    channels: int = 2
    has_flash_and_beep: bool = False
    repeats_headers: bool = False
    """Whether key frames carry their parameter sets."""

    @cached_property
    def _picture(self) -> str:
        source = f"size={self.size}:rate={self.frames_per_second}"
        if not self.has_flash_and_beep:
            return f"testsrc2={source}"
        flash = "drawbox=color=white:thickness=fill:enable='lt(mod(t,1),0.1)'"
        return f"color=black:{source},{flash}"

    @cached_property
    def _sound(self) -> str:
        """A beep of a tenth of a second in each second, a cosine so that it begins at once."""
        level = "if(lt(mod(t,1),0.1),0.25*cos(2*PI*1000*t),0)"
        return f"aevalsrc='{level}':sample_rate={self.sample_rate}"

    def command(self, path: Path) -> list[str]:
        inputs, outputs = ["ffmpeg", "-v", "error", "-y"], ["-t", str(self.seconds)]
        if self.video:
            inputs += ["-f", "lavfi", "-i", self._picture]
            outputs += ["-c:v", self.video, "-preset", "ultrafast", "-pix_fmt", "yuv420p"]
            outputs += ["-x264-params", "repeat-headers=1"] if self.repeats_headers else []
            outputs += ["-g", str(self.frames_per_second), "-bf", str(self.b_frames), "-sc_threshold", "0"]
        if self.audio:
            inputs += ["-f", "lavfi", "-i", self._sound]
            outputs += ["-c:a", self.audio, "-b:a", "96k", "-ac", str(self.channels)]
        return [*inputs, *outputs, "-f", "flv", str(path)]


H264_AAC = ClipSpec("h264-aac")
H264_B_FRAMES_AAC = ClipSpec("h264-b-frames-aac", b_frames=2)
H264_MP3 = ClipSpec("h264-mp3", audio="libmp3lame", sample_rate=44_100)
VIDEO_ONLY = ClipSpec("video-only", audio="", b_frames=2)
AUDIO_ONLY = ClipSpec("audio-only", video="")
LONG = ClipSpec("long", seconds=90, b_frames=2)
"""For live streams: at the seam of a clip that is looped FFmpeg repeats times."""

FLASH_AND_BEEP = ClipSpec("flash-and-beep", b_frames=2, has_flash_and_beep=True)
FLASH_AND_BEEP_LIVE = ClipSpec("flash-and-beep-live", seconds=30, has_flash_and_beep=True)
"""The same for browsers, whose decoders take no B-frames."""


class MediaFolder:
    """Makes clips on first use and keeps them for the session."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def clip(self, spec: ClipSpec) -> Path:
        path = self._folder / f"{spec.name}.flv"
        if not path.exists():
            subprocess.run(spec.command(path), check=True, timeout=_MAKE_TIMEOUT_S)
        return path
