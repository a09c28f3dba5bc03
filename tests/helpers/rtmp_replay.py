"""A publisher that does not wait: hours of a stream as fast as the server reads, in every header style."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from clip import AUDIO, VIDEO, Clip, Message, read_clip
from rtmp_bytes import Session, new_message, next_message

CHUNK_SIZE = 128
_CHUNK_STREAMS = {AUDIO: 4, VIDEO: 6}
_DATA_CHUNK_STREAM = 5
_SEND_BYTES = 1 << 18
_TIMESTAMP_MODULO = 1 << 32


class HeaderStyle(Enum):
    """How an encoder tells the time of a message."""

    ABSOLUTE_REPEATED = "in full, and again before each chunk of the message (FFmpeg, FMLE)"
    ABSOLUTE_ONCE = "in full, once (rtmpdump, librtmp for long)"
    DIFFERENCES = "as the time since the message before"


@dataclass(frozen=True, slots=True)
class Replay:
    """What was sent: the times of all media messages of a kind, not wrapped at 32 bits."""

    video_ms: list[int]
    audio_ms: list[int]


def small_clip(path: Path, seconds: int, frames_per_second: int, audio_frames: int) -> Clip:
    """The clip of an FLV file that `seconds` fill without a seam."""
    return read_clip(path, seconds * 1000, seconds * frames_per_second, audio_frames)


def replay(port: int, name: str, clip: Clip, start_ms: int, duration_ms: int, style: HeaderStyle) -> Replay:
    """Publish the clip again and again from `start_ms` on, for `duration_ms` of the stream's own time."""
    session = Session("127.0.0.1", port, timeout_s=30)
    with session.sock as sock:
        session.publish("live", name, CHUNK_SIZE)
        writer = _Writer(session.stream_id, style)
        sent = Replay([], [])
        buffer = bytearray()
        for message, timestamp_ms in _times(clip, start_ms, duration_ms):
            buffer += writer.write(message, timestamp_ms)
            if not message.is_configuration:
                (sent.video_ms if message.type_id == VIDEO else sent.audio_ms).append(timestamp_ms)
            if len(buffer) > _SEND_BYTES:
                sock.sendall(buffer)
                buffer.clear()
        sock.sendall(buffer + session.farewell(name))
        _wait_for_end(sock)
    return sent


def _times(clip: Clip, start_ms: int, duration_ms: int) -> Iterator[tuple[Message, int]]:
    for message in clip.configuration:
        yield message, start_ms
    for turn_ms in range(0, duration_ms, clip.duration_ms):
        for message in clip.media:
            yield message, start_ms + turn_ms + message.timestamp_ms


def _wait_for_end(sock: socket.socket) -> None:
    """Close our half and read until the server has closed its own, so that it has read everything."""
    sock.shutdown(socket.SHUT_WR)
    while sock.recv(1 << 16):
        pass


class _Writer:
    def __init__(self, stream_id: int, style: HeaderStyle) -> None:
        self._stream_id = stream_id
        self._style = style
        self._last_ms: dict[int, int] = {}

    def write(self, message: Message, timestamp_ms: int) -> bytes:
        chunk_stream = _CHUNK_STREAMS.get(message.type_id, _DATA_CHUNK_STREAM)
        last_ms = self._last_ms.get(chunk_stream)
        self._last_ms[chunk_stream] = timestamp_ms
        if last_ms is not None and self._style is HeaderStyle.DIFFERENCES:
            delta_ms = timestamp_ms - last_ms
            return next_message(chunk_stream, message.type_id, delta_ms, message.payload, CHUNK_SIZE)
        return new_message(
            chunk_stream,
            message.type_id,
            self._stream_id,
            timestamp_ms % _TIMESTAMP_MODULO,
            message.payload,
            CHUNK_SIZE,
            repeats_extended=self._style is HeaderStyle.ABSOLUTE_REPEATED,
        )
