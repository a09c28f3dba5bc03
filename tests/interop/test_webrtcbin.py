"""GStreamer's webrtcbin publishes by WHIP and watches by WHEP: a stack of its own from ICE to decoder."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers.probe import ProbedFile, decode_complaints
from helpers.server import ServerProcess
from helpers.tools import SYSTEM_PYTHON, requires

CLIENT = Path(__file__).with_name("webrtcbin.py")
PATIENCE_S = 40

pytestmark = requires("webrtcbin", "gstreamer", "ffmpeg")


@contextmanager
def publishing(server: ServerProcess, codec: str) -> Iterator[None]:
    command = [SYSTEM_PYTHON, str(CLIENT), "publish", server.http_url(f"/whip/gst-{codec}"), codec]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client:
        try:
            server.wait_for_stream(f"gst-{codec}")
            yield
            _, errors = client.communicate("stop\n", timeout=PATIENCE_S)
        finally:
            client.kill()
        assert client.returncode == 0, errors


@pytest.mark.parametrize("codec", ["H264", "VP8"])
def test_webrtcbin_publishes_and_watches(codec: str, server: ServerProcess) -> None:
    with publishing(server, codec):
        command = [SYSTEM_PYTHON, str(CLIENT), "watch", server.http_url(f"/whep/gst-{codec}"), codec, "30"]
        watched = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert "width=(int)320, height=(int)180" in watched.stdout, watched.stderr
    assert watched.stdout.endswith("30 audio 30 video\n"), watched.stderr
    file = server.wait_for_file(f"gst-{codec}")
    assert ProbedFile(file).tracks["video"].codec == codec.lower()
    # What was encoded before the connection comes in one burst; each picture has a time of its own.
    assert decode_complaints(file) == ""
