"""The clip for WebM, which cannot hold H.264: VP9 and Opus as Enhanced RTMP, of the same size and bit rate.

720p30, 2.5 Mbit/s, a key frame every two seconds, Opus 48 kHz in frames of 20 ms; 16 s, to be looped without
a seam. FFmpeg encodes it to WebM, and PyAV's libavformat, which may be newer, puts that into FLV.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import av
from clip import DURATION_MS, FRAMES_PER_SECOND, VIDEO_FRAMES, Clip, cache_dir, read_clip

_AUDIO_FRAMES = 800
VP9_CLIP_NAME = "bench-720p30-2500k-vp9-v1.flv"


def load_vp9_clip() -> Clip:
    """The clip, made at the first call (half a minute of CPU)."""
    path = cache_dir() / VP9_CLIP_NAME
    if not path.exists():
        partial = path.with_suffix(".partial.flv")
        webm = path.with_suffix(".partial.webm")
        _encode(webm)
        _to_flv(webm, partial)
        webm.unlink()
        partial.rename(path)
    return read_clip(path, DURATION_MS, VIDEO_FRAMES, _AUDIO_FRAMES)


def _encode(path: Path) -> None:
    """As the other clip; without frames that look ahead, as live encoders are set."""
    picture = f"testsrc2=size=1280x720:rate={FRAMES_PER_SECOND},noise=alls=24:allf=t"
    gop = 2 * FRAMES_PER_SECOND
    encode_video = (
        "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -row-mt 1 -lag-in-frames 0 -pix_fmt yuv420p "
        f"-g {gop} -keyint_min {gop} -b:v 2500k -minrate 2500k -maxrate 2500k -bufsize 2500k"
    )
    command = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", picture]
    command += ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"]
    command += ["-t", f"{DURATION_MS / 1000 + 0.5}"]
    encode_audio = "-c:a libopus -b:a 128k -ar 48000 -ac 2"
    command += [*encode_video.split(), *encode_audio.split(), str(path)]
    subprocess.run(command, check=True, timeout=600)


def _to_flv(source: Path, target: Path) -> None:
    with av.open(str(source)) as webm, av.open(str(target), "w", format="flv") as flv:
        streams: dict[int, Any] = {
            stream.index: flv.add_stream_from_template(stream, opaque=True) for stream in webm.streams
        }
        for packet in webm.demux():
            if packet.size:
                packet.stream = streams[packet.stream.index]
                flv.mux_one(packet)
