"""Small publishers that remember what they sent and when: what a crash may cost is judged by them.

Each publisher is a thread of its own with one connection. It sends a small clip (320x180 H.264 with B-frames,
a key frame every half second, AAC) in real time, one message a call, and notes the time after each call. The
clip does not repeat, so every packet is recognized by the hash of its payload.
"""

from __future__ import annotations

import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from hashlib import md5
from pathlib import Path

from clip import AUDIO, VIDEO, Clip, cache_dir, read_clip
from publishers import frames_of, preamble_of
from rtmp_bytes import PublishError, Session

CLIP_S = 20
KINDS = {VIDEO: "video", AUDIO: "audio"}
_FRAMES_PER_SECOND = 30
_CHUNK_SIZE = 4096
_VIDEO_TAG_BYTES, _AUDIO_TAG_BYTES = 5, 2
"""What FLV puts before an access unit and before an AAC frame; files hold what is behind."""


@dataclass(frozen=True, slots=True)
class SentPacket:
    """One packet as it went out. `sent_s` is monotonic time after the kernel had taken it."""

    kind: str
    timestamp_ms: int
    digest: bytes
    sent_s: float


@cache
def small_clip() -> Clip:
    """The clip, made at the first call and kept in the user's cache."""
    path = cache_dir() / "crash-180p30-v1.flv"
    if not path.exists():
        _make(path)
    frames = CLIP_S * _FRAMES_PER_SECOND
    return read_clip(path, CLIP_S * 1000, frames, CLIP_S * 48_000 // 1024)


def _make(path: Path) -> None:
    partial = path.with_suffix(".partial.flv")
    picture, sound = "testsrc2=size=320x180:rate=30", "anoisesrc=amplitude=0.2:sample_rate=48000"
    inputs = f"-f lavfi -i {picture} -f lavfi -i {sound} -t {CLIP_S + 0.5}"
    video = "-c:v libx264 -preset veryfast -pix_fmt yuv420p -bf 2 -g 15 -keyint_min 15 -sc_threshold 0"
    command = f"ffmpeg -v error -y {inputs} {video} -c:a aac -b:a 96k -ac 2 -f flv".split()
    subprocess.run([*command, str(partial)], check=True, timeout=300)
    partial.rename(path)


@cache
def packet_digests() -> tuple[tuple[str, int, bytes], ...]:
    """Kind, timestamp and hash of each packet of the clip, in the order of sending."""
    skipped = {VIDEO: _VIDEO_TAG_BYTES, AUDIO: _AUDIO_TAG_BYTES}
    return tuple(
        (KINDS[m.type_id], m.timestamp_ms, md5(m.payload[skipped[m.type_id] :]).digest())
        for m in small_clip().media
    )


class PacedPublisher(threading.Thread):
    """Publishes one stream in real time until told to stop, its peer goes, or the clip is over.

    `stop(farewell=True)` ends the publication in good order, otherwise the connection just closes.
    """

    def __init__(self, port: int, name: str) -> None:
        super().__init__(name=f"publisher {name}", daemon=True)
        self.stream = name
        self.is_published = threading.Event()
        self.longest_send_s = 0.0
        self.latest_s = 0.0
        """How long after its time a frame was sent: the machine is as busy as that."""
        self._port = port
        self._sent_s: list[float] = []
        self._stopping = threading.Event()
        self._has_farewell = False

    def run(self) -> None:
        with suppress(OSError, PublishError):
            self._publish()

    def stop(self, *, farewell: bool) -> None:
        self._has_farewell = farewell
        self._stopping.set()

    def sent(self, before_s: float = float("inf")) -> list[SentPacket]:
        """What had been sent before that moment."""
        times_s = [sent_s for sent_s in list(self._sent_s) if sent_s <= before_s]
        return [
            SentPacket(*packet, sent_s) for packet, sent_s in zip(packet_digests(), times_s, strict=False)
        ]

    def _publish(self) -> None:
        session = Session("127.0.0.1", self._port)
        try:
            session.publish("live", self.stream, _CHUNK_SIZE)
            self.is_published.set()
            session.sock.sendall(preamble_of(small_clip(), _CHUNK_SIZE, session.stream_id))
            self._send_clip(session)
            if self._has_farewell:
                session.sock.sendall(session.farewell(self.stream))
                _wait_for_answer(session)
        finally:
            session.sock.close()

    def _send_clip(self, session: Session) -> None:
        start_s = time.monotonic()
        for frame in frames_of(small_clip(), _CHUNK_SIZE, session.stream_id):
            wait_s = start_s + frame.due_s - time.monotonic()
            if self._stopping.wait(max(0.0, wait_s)):
                return
            before_s = time.monotonic()
            self.latest_s = max(self.latest_s, before_s - start_s - frame.due_s)
            session.sock.sendall(frame.first)
            self._sent_s.append(time.monotonic())
            self.longest_send_s = max(self.longest_send_s, self._sent_s[-1] - before_s)


def _wait_for_answer(session: Session) -> None:
    """Until the server says that the stream is over."""
    said = b""
    while b"NetStream.Unpublish.Success" not in said:
        said = said[-1024:] + (data := session.sock.recv(65536))
        if not data:
            return


def publish_all(port: int, names: list[str]) -> list[PacedPublisher]:
    """Start a publisher for each name; returns at once."""
    packet_digests()
    publishers = [PacedPublisher(port, name) for name in names]
    for publisher in publishers:
        publisher.start()
    return publishers
