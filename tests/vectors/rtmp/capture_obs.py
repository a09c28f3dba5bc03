"""Captures `obs_publish.bin` anew: `PYTHONPATH=tests python tests/vectors/rtmp/capture_obs.py`."""

from __future__ import annotations

import socket
import tempfile
import time
from pathlib import Path
from threading import Thread

from capture import keep, serve
from helpers.publishers import ObsStudio

SECONDS = 2.0
"""What OBS sends from its connecting on; it stops in good order then."""


def capture_obs() -> None:
    captured: list[bytes] = []
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        port = listener.getsockname()[1]
        obs = ObsStudio(Path(folder), f"rtmp://127.0.0.1:{port}/live", "room/cam?token=abc", video_kbps=100)
        with obs.streaming():
            peer, _ = listener.accept()
            server = Thread(target=lambda: captured.append(serve(peer, [])))
            server.start()
            time.sleep(SECONDS)
        server.join()
        peer.close()
    keep("obs_publish", captured[0])


if __name__ == "__main__":
    capture_obs()
