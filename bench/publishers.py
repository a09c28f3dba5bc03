"""The load generator: N publishers of one clip, in one process, each paced frame by frame in real time.

    python bench/publishers.py --port 1935 --streams 100 --chunk-size 4096 --seconds 20

The clip is cut into chunks once for all publishers. Media messages carry time *differences* (type 1 headers,
as encoders send them), so the same bytes serve every publisher and every turn of the loop. Starts are spread
over two seconds, one GOP, so that key frames do not come all at once. Everything stays on the loopback
interface.

One line of JSON is printed when all are sending, `{"event": "steady"}`, and one at the end with what was
sent: the counts of each stream, stalls (a socket that took nothing for more than a second) and how late the
generator itself ran, which says whether the machine was too busy for the figures to mean anything.
"""

from __future__ import annotations

import argparse
import heapq
import json
import resource
import select
import socket
import time
from collections import deque
from contextlib import suppress
from dataclasses import asdict, dataclass, field

from clip import AUDIO, VIDEO, Clip, Message, load_clip
from rtmp_bytes import Session, new_message, next_message
from vp9_clip import load_vp9_clip

CLIPS = {"h264": load_clip, "vp9": load_vp9_clip}
SPREAD_S = 2.0
STALL_S = 1.0
_CHUNK_STREAMS = {AUDIO: 4, VIDEO: 6}
_DATA_CHUNK_STREAM = 5


@dataclass(frozen=True, slots=True)
class Frame:
    """One send: `due_s` is its place in the clip."""

    due_s: float
    first: bytes
    """The bytes of the first turn: the first message of a track tells its time in full."""
    again: bytes
    """The bytes of every later turn."""
    is_video: bool


@dataclass(slots=True)
class Report:
    """What a run of the generator did."""

    streams: int
    chunk_size: int
    seconds: float
    sent_bytes: int = 0
    video_frames: list[int] = field(default_factory=list)
    audio_frames: list[int] = field(default_factory=list)
    stalls: int = 0
    longest_stall_ms: int = 0
    most_late_ms: int = 0
    lost: int = 0
    """Publishers whose connection the server ended."""
    cpu_s: float = 0.0


def frames_of(clip: Clip, chunk_size: int, stream_id: int) -> list[Frame]:
    """Cut the media into chunks, once for all publishers."""
    last_ms = {message.type_id: message.timestamp_ms - clip.duration_ms for message in clip.media}
    begun: set[int] = set()
    frames = []
    for message in clip.media:
        kind, chunk_stream = message.type_id, _CHUNK_STREAMS[message.type_id]
        delta_ms = message.timestamp_ms - last_ms[kind]
        again = next_message(chunk_stream, kind, delta_ms, message.payload, chunk_size)
        first = again if kind in begun else _full(message, chunk_size, stream_id)
        frames.append(Frame(message.timestamp_ms / 1000, first, again, kind == VIDEO))
        begun.add(kind)
        last_ms[kind] = message.timestamp_ms
    return frames


def preamble_of(clip: Clip, chunk_size: int, stream_id: int) -> bytes:
    """Metadata and decoder configurations, sent before the first frame."""
    return b"".join(_full(message, chunk_size, stream_id) for message in clip.configuration)


def _full(message: Message, chunk_size: int, stream_id: int) -> bytes:
    chunk_stream = _CHUNK_STREAMS.get(message.type_id, _DATA_CHUNK_STREAM)
    return new_message(
        chunk_stream, message.type_id, stream_id, message.timestamp_ms, message.payload, chunk_size
    )


class Publisher:
    """One connection: how far it is in the clip, and what the kernel did not take yet."""

    def __init__(self, session: Session, name: str) -> None:
        self.session = session
        self.name = name
        self.sock: socket.socket = session.sock
        self.backlog: deque[memoryview] = deque()
        self.blocked_since_s = 0.0
        self.next_frame = 0
        self.turn_start_s = 0.0
        self.is_first_turn = True
        self.is_lost = False
        self.video_frames = 0
        self.audio_frames = 0
        self.sent_bytes = 0

    def send(self, data: bytes) -> bool:
        """Send what the kernel takes; False when some is left, which `flush` sends later."""
        if self.backlog:
            self.backlog.append(memoryview(data))
            return False
        taken = self._send_some(data)
        if taken < len(data):
            self.backlog.append(memoryview(data)[taken:])
            return False
        return True

    def flush(self) -> bool:
        """Send from the backlog; True when it is empty."""
        while self.backlog:
            head = self.backlog[0]
            taken = self._send_some(head)
            if taken < len(head):
                self.backlog[0] = head[taken:]
                return False
            self.backlog.popleft()
        return True

    def _send_some(self, data: bytes | memoryview) -> int:
        try:
            taken = self.sock.send(data)
        except BlockingIOError:
            return 0
        self.sent_bytes += taken
        return taken


class Generator:
    """Paces all publishers with one heap of deadlines and one epoll for those that are blocked."""

    def __init__(self, publishers: list[Publisher], clip: Clip, report: Report) -> None:
        stream_id = publishers[0].session.stream_id
        self.publishers = publishers
        self.preamble = preamble_of(clip, report.chunk_size, stream_id)
        self.frames = frames_of(clip, report.chunk_size, stream_id)
        self.turn_s = clip.duration_ms / 1000
        self.report = report
        self._by_fd = {publisher.sock.fileno(): publisher for publisher in publishers}
        self._epoll = select.epoll()

    def run(self, seconds: float) -> None:
        """Start one after the other within SPREAD_S, then send for `seconds`; ends on a frame's border."""
        start_s = time.monotonic() + 0.05
        steady_s = start_s + SPREAD_S
        end_s = steady_s + seconds
        deadlines = self._spread_starts(start_s)
        self._watch_and_greet()
        is_steady = False
        while deadlines:
            now_s = time.monotonic()
            if not is_steady and now_s >= steady_s:
                is_steady = True
                print(json.dumps({"event": "steady"}), flush=True)
            if now_s >= end_s:
                break
            self._wait(max(0.0, min(deadlines[0][0], end_s) - now_s))
            self._send_due(deadlines)
        self._drain(timeout_s=5.0)

    def _spread_starts(self, start_s: float) -> list[tuple[float, int]]:
        deadlines = []
        for index, publisher in enumerate(self.publishers):
            publisher.turn_start_s = start_s + SPREAD_S * index / len(self.publishers)
            deadlines.append((publisher.turn_start_s + self.frames[0].due_s, index))
        heapq.heapify(deadlines)
        return deadlines

    def _watch_and_greet(self) -> None:
        for publisher in self.publishers:
            publisher.sock.setblocking(False)
            self._epoll.register(publisher.sock.fileno(), select.EPOLLIN)
            self._send(publisher, self.preamble)

    def _send_due(self, deadlines: list[tuple[float, int]]) -> None:
        now_s = time.monotonic()
        while deadlines and deadlines[0][0] <= now_s:
            due_s, index = deadlines[0]
            self.report.most_late_ms = max(self.report.most_late_ms, int((now_s - due_s) * 1000))
            publisher = self.publishers[index]
            if publisher.is_lost:
                heapq.heappop(deadlines)
                continue
            self._send_frame(publisher)
            next_due_s = publisher.turn_start_s + self.frames[publisher.next_frame].due_s
            heapq.heapreplace(deadlines, (next_due_s, index))

    def _send_frame(self, publisher: Publisher) -> None:
        frame = self.frames[publisher.next_frame]
        self._send(publisher, frame.first if publisher.is_first_turn else frame.again)
        if frame.is_video:
            publisher.video_frames += 1
        else:
            publisher.audio_frames += 1
        publisher.next_frame += 1
        if publisher.next_frame == len(self.frames):
            publisher.next_frame = 0
            publisher.is_first_turn = False
            publisher.turn_start_s += self.turn_s

    def _send(self, publisher: Publisher, data: bytes) -> None:
        was_blocked = bool(publisher.backlog)
        try:
            if publisher.send(data) or was_blocked:
                return
        except OSError:
            self._lose(publisher)
            return
        publisher.blocked_since_s = time.monotonic()
        self._epoll.modify(publisher.sock.fileno(), select.EPOLLIN | select.EPOLLOUT)

    def _wait(self, timeout_s: float) -> None:
        """Sleep until the next frame is due; meanwhile flush what was blocked and read what servers say."""
        for fd, events in self._epoll.poll(timeout_s):
            publisher = self._by_fd[fd]
            try:
                if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                    self._read(publisher)
                if events & select.EPOLLOUT and not publisher.is_lost:
                    self._unblock(publisher)
            except OSError:
                self._lose(publisher)

    def _read(self, publisher: Publisher) -> None:
        with suppress(BlockingIOError):
            if not publisher.sock.recv(65536):
                self._lose(publisher)

    def _unblock(self, publisher: Publisher) -> None:
        now_s = time.monotonic()
        backlog = len(publisher.backlog)
        is_empty = publisher.flush()
        if is_empty or len(publisher.backlog) < backlog:
            self._note_stall(now_s - publisher.blocked_since_s)
            publisher.blocked_since_s = now_s
        if is_empty:
            self._epoll.modify(publisher.sock.fileno(), select.EPOLLIN)

    def _note_stall(self, blocked_s: float) -> None:
        self.report.stalls += blocked_s > STALL_S
        self.report.longest_stall_ms = max(self.report.longest_stall_ms, int(blocked_s * 1000))

    def _lose(self, publisher: Publisher) -> None:
        if publisher.is_lost:
            return
        publisher.is_lost = True
        self.report.lost += 1
        self._epoll.unregister(publisher.sock.fileno())
        publisher.backlog.clear()

    def _drain(self, timeout_s: float) -> None:
        """Let the last bytes go out."""
        end_s = time.monotonic() + timeout_s
        while any(publisher.backlog for publisher in self.publishers) and time.monotonic() < end_s:
            self._wait(0.05)
        for publisher in self.publishers:
            if publisher.backlog:
                self._note_stall(time.monotonic() - publisher.blocked_since_s)

    def unpublish(self) -> None:
        """End every publication in good order and wait for the server to take it in."""
        staying = [publisher for publisher in self.publishers if not publisher.is_lost]
        for publisher in staying:
            self._epoll.unregister(publisher.sock.fileno())
            publisher.sock.settimeout(5.0)
            with suppress(OSError):
                publisher.sock.sendall(publisher.session.farewell(publisher.name))
                publisher.sock.shutdown(socket.SHUT_WR)
        for publisher in staying:
            with suppress(OSError):
                while publisher.sock.recv(65536):
                    pass
        for publisher in self.publishers:
            publisher.sock.close()
        self._epoll.close()


def connect_all(port: int, app: str, streams: int, chunk_size: int) -> list[Publisher]:
    """Publish every stream, one after the other; no media is sent yet."""
    publishers = []
    for index in range(streams):
        name = f"bench{index:03d}"
        session = Session("127.0.0.1", port)
        session.publish(app, name, chunk_size)
        publishers.append(Publisher(session, name))
    return publishers


def run(port: int, app: str, streams: int, chunk_size: int, seconds: float, clip: Clip) -> Report:
    report = Report(streams, chunk_size, seconds)
    publishers = connect_all(port, app, streams, chunk_size)
    generator = Generator(publishers, clip, report)
    generator.run(seconds)
    generator.unpublish()
    report.video_frames = [publisher.video_frames for publisher in publishers]
    report.audio_frames = [publisher.audio_frames for publisher in publishers]
    report.sent_bytes = sum(publisher.sent_bytes for publisher in publishers)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    report.cpu_s = round(usage.ru_utime + usage.ru_stime, 3)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--app", default="live")
    parser.add_argument("--streams", type=int, default=20)
    parser.add_argument("--chunk-size", type=int, default=4096)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--clip", choices=tuple(CLIPS), default="h264")
    options = parser.parse_args()
    clip = CLIPS[options.clip]()
    report = run(options.port, options.app, options.streams, options.chunk_size, options.seconds, clip)
    print(json.dumps({"event": "done", **asdict(report)}), flush=True)


if __name__ == "__main__":
    main()
