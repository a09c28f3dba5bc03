"""FFmpeg publishes by WHIP: a stack of its own, which wants to be the DTLS server unless told otherwise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import av
import pytest
from helpers.certificates import TestCertificate
from helpers.probe import ProbedFile, decode_complaints
from helpers.server import ServerProcess
from helpers.tools import requires

CLIENT = Path(__file__).with_name("ffmpeg_whip.py")
SECONDS, FRAMES_PER_SECOND = 3, 30
TIMEOUT_S = 60

pytestmark = [
    requires("ffmpeg"),
    pytest.mark.skipif("whip" not in av.formats_available, reason="PyAV's FFmpeg has no WHIP muxer"),
]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mkv"
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-f",
        "lavfi",
        "-i",
        f"testsrc2=size=320x180:rate={FRAMES_PER_SECOND}",
    ]
    command += ["-f", "lavfi", "-i", "sine=sample_rate=48000", "-t", str(SECONDS), "-pix_fmt", "yuv420p"]
    command += [
        "-c:v",
        "libx264",
        "-profile:v",
        "baseline",
        "-g",
        "30",
        "-c:a",
        "libopus",
        "-ac",
        "2",
        str(path),
    ]
    subprocess.run(command, check=True, timeout=TIMEOUT_S)
    return path


@pytest.mark.parametrize("role", ["passive", "active"])
def test_what_ffmpeg_publishes_by_whip_is_recorded_packet_by_packet(
    role: str, clip: Path, server: ServerProcess, tmp_path: Path
) -> None:
    name = f"ffmpeg-{role}"
    own = TestCertificate.made(tmp_path)
    command = [sys.executable, str(CLIENT), str(clip), server.http_url(f"/whip/{name}")]
    command += [f"cert_file={own.cert}", f"key_file={own.key}"]
    if role == "active":
        command.append("whip_flags=dtls_active")
    published = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, text=True, check=False)
    assert published.returncode == 0, published.stderr
    file = server.wait_for_file(name)
    tracks = ProbedFile(file).tracks
    assert tracks["video"].codec == "h264"
    assert len(tracks["video"].packets) == SECONDS * FRAMES_PER_SECOND
    sound = tracks["audio"].packets
    assert sound[-1].pts_ms - sound[0].pts_ms == pytest.approx(SECONDS * 1000, abs=100)
    assert decode_complaints(file) == ""
