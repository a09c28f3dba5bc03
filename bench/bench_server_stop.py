"""From unpublish to the final file, through the whole server: `python bench/bench_server_stop.py [MB ...]`.

A publisher sends the bench's clip again and again, faster than real time, with timestamps that go on. When
all of it is on the disk, as it is at the end of any live stream, the publisher ends its stream. Measured is
the time until the file stands under its name, and until its row says complete; and what the server has
written to the disk altogether, compared with the media it got.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from clip import load_clip
from crashable import CrashableServer, Rows
from publishers import frames_of, preamble_of
from rtmp_bytes import Session

MEGABYTE = 1_000_000
_CHUNK_SIZE = 60_000
_PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class Stop:
    """One stop. Times are from the moment before the farewell was sent."""

    media_bytes: int
    media_s: float
    named_s: float
    complete_s: float
    written_bytes: int
    """To the storage, over the whole recording."""
    written_at_stop_bytes: int
    file_bytes: int

    def row(self) -> str:
        hours = self.media_s / 3600
        times = f"{self.named_s * 1000:.0f} | {self.complete_s * 1000:.0f}"
        ratio = f"{self.written_bytes / self.media_bytes:.4f} | {self.file_bytes / self.media_bytes:.4f}"
        at_stop = self.written_at_stop_bytes / MEGABYTE
        return f"| {self.media_bytes / MEGABYTE:.0f} | {hours:.2f} | {times} | {at_stop:.1f} | {ratio} |"


HEAD = (
    "| media MB | hours | under its name, ms | row complete, ms | written at stop, MB | written / media "
    "| file / media |\n|---|---|---|---|---|---|---|"
)


def measure(folder: Path, size_bytes: int, bytes_per_s: int) -> Stop:
    server = CrashableServer(folder, settings='min_free_bytes = 0\nqueue_max_bytes = "256M"')
    server.start()
    try:
        return _measure(server, size_bytes, bytes_per_s)
    finally:
        server.close()


def _measure(server: CrashableServer, size_bytes: int, bytes_per_s: int) -> Stop:
    clip = load_clip()
    session = Session("127.0.0.1", server.rtmp_port)
    session.publish("live", "stop", _CHUNK_SIZE)
    session.sock.settimeout(_PATIENCE_S)
    written_before = _written_bytes(server)
    clip_bytes = sum(len(message.payload) for message in clip.media)
    turns = max(1, size_bytes // clip_bytes)
    _send(session, turns, bytes_per_s)
    (growing,) = server.growing_dir.glob("*.mp4")
    _until(lambda: growing.stat().st_blocks and _is_quiet(growing), "all media on the disk")
    time.sleep(1.0)  # the interval of syncs
    at_stop = _written_bytes(server)
    final = server.record_dir / "stop.mp4"
    started_s = time.monotonic()
    session.sock.sendall(session.farewell("stop"))
    session.sock.shutdown(socket.SHUT_WR)  # as FFmpeg and OBS do
    named_s = _until(final.exists, "the final name") - started_s
    complete_s = _until(lambda: _is_complete(server), "the complete row") - started_s
    written = _written_bytes(server)
    session.sock.close()
    return Stop(
        media_bytes=turns * clip_bytes,
        media_s=turns * clip.duration_ms / 1000,
        named_s=named_s,
        complete_s=complete_s,
        written_bytes=written - written_before,
        written_at_stop_bytes=written - at_stop,
        file_bytes=final.stat().st_size,
    )


def _send(session: Session, turns: int, bytes_per_s: int) -> None:
    """The clip so many times, at an even rate."""
    clip = load_clip()
    frames = frames_of(clip, _CHUNK_SIZE, session.stream_id)
    first, again = b"".join(f.first for f in frames), b"".join(f.again for f in frames)
    session.sock.sendall(preamble_of(clip, _CHUNK_SIZE, session.stream_id))
    started_s, sent = time.monotonic(), 0
    for turn in range(turns):
        data = again if turn else first
        session.sock.sendall(data)
        sent += len(data)
        time.sleep(max(0.0, started_s + sent / bytes_per_s - time.monotonic()))


def _is_quiet(path: Path) -> bool:
    before = path.stat()
    time.sleep(0.7)
    return path.stat().st_mtime_ns == before.st_mtime_ns


def _is_complete(server: CrashableServer) -> bool:
    return any(row.state == "complete" for row in Rows.of(server.record_dir).segments)


def _until(condition: Callable[[], object], what: str) -> float:
    """The monotonic time at which it became true."""
    end_s = time.monotonic() + _PATIENCE_S
    while not condition():
        if time.monotonic() > end_s:
            raise RuntimeError(f"{what}: not within {_PATIENCE_S} s")
        time.sleep(0.002)
    return time.monotonic()


def _written_bytes(server: CrashableServer) -> int:
    lines = Path(f"/proc/{server.pid}/io").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("write_bytes")))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("megabytes", nargs="*", type=int, default=[100, 5000])
    parser.add_argument("--rate", type=int, default=80, help="MB per second")
    parser.add_argument("--folder", type=Path, help="where to record; default: a temporary folder")
    options = parser.parse_args()
    print(HEAD)
    for megabytes in options.megabytes:
        folder = Path(tempfile.mkdtemp(prefix="aircheck-stop-", dir=options.folder))
        try:
            print(measure(folder, megabytes * MEGABYTE, options.rate * MEGABYTE).row(), flush=True)
        finally:
            shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
