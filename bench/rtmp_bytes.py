"""Just enough RTMP to publish, independent of the server under test."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

HANDSHAKE_BYTES = 1536
_CONTROL_STREAM, _COMMAND_STREAM = 2, 3
_SET_CHUNK_SIZE, _COMMAND_MESSAGE = 1, 20
DEFAULT_CHUNK_SIZE = 128
EXTENDED_TIMESTAMP = 0xFFFFFF
_HEADER_BYTES = {0: 11, 1: 7, 2: 3, 3: 0}


class PublishError(RuntimeError):
    """The server did not let us publish."""


def new_message(
    chunk_stream: int,
    type_id: int,
    stream_id: int,
    timestamp_ms: int,
    payload: bytes,
    chunk_size: int,
    *,
    repeats_extended: bool = True,
) -> bytes:
    """A message with a full (type 0) header.

    From 4 h 39 min on its time stands behind the header. Whether it is repeated before each later chunk of
    the message differs between encoders: FFmpeg does, librtmp long did not.
    """
    field = min(timestamp_ms, EXTENDED_TIMESTAMP)
    extended = timestamp_ms.to_bytes(4, "big") if field == EXTENDED_TIMESTAMP else b""
    header = bytes([chunk_stream]) + field.to_bytes(3, "big") + len(payload).to_bytes(3, "big")
    header += bytes([type_id]) + stream_id.to_bytes(4, "little") + extended
    return header + _split(chunk_stream, payload, chunk_size, extended if repeats_extended else b"")


def next_message(chunk_stream: int, type_id: int, delta_ms: int, payload: bytes, chunk_size: int) -> bytes:
    """A message with a type 1 header: `delta_ms` is the time since the one before on its chunk stream."""
    header = bytes([0x40 | chunk_stream]) + delta_ms.to_bytes(3, "big") + len(payload).to_bytes(3, "big")
    return header + bytes([type_id]) + _split(chunk_stream, payload, chunk_size)


def _split(chunk_stream: int, payload: bytes, chunk_size: int, extended: bytes = b"") -> bytes:
    continuation = bytes([0xC0 | chunk_stream]) + extended
    pieces = (payload[at : at + chunk_size] for at in range(0, len(payload), chunk_size))
    return continuation.join(pieces)


def amf(*values: str | float | bool | dict[str, str] | None) -> bytes:
    return b"".join(map(_amf_value, values))


def _amf_value(value: str | float | bool | dict[str, str] | None) -> bytes:
    if value is None:
        return b"\x05"
    if isinstance(value, bool):
        return bytes([1, value])
    if isinstance(value, str):
        return b"\x02" + _amf_key(value)
    if isinstance(value, dict):
        members = b"".join(_amf_key(key) + _amf_value(member) for key, member in value.items())
        return b"\x03" + members + b"\x00\x00\x09"
    return b"\x00" + struct.pack(">d", value)


def _amf_key(text: str) -> bytes:
    return len(text.encode()).to_bytes(2, "big") + text.encode()


class Session:
    """A blocking RTMP client up to "publishing"; afterwards its socket is the caller's."""

    def __init__(self, host: str, port: int, *, timeout_s: float = 10.0) -> None:
        self.sock = socket.create_connection((host, port), timeout=timeout_s)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream_id = 0
        self._replies = ReplyReader()
        self._chunk_size = DEFAULT_CHUNK_SIZE
        self._host_and_port = f"{host}:{port}"

    def publish(self, app: str, name: str, chunk_size: int) -> None:
        """Everything up to `NetStream.Publish.Start`; raises PublishError on a refusal or an early end."""
        self.connect(app, chunk_size)
        self._command("releaseStream", 2.0, None, name)
        self._command("FCPublish", 3.0, None, name)
        self._create_stream()
        self._command("publish", 5.0, None, name, "live", stream_id=self.stream_id)
        self._wait_for(b"NetStream.Publish.Start")

    def play(self, app: str, name: str) -> None:
        """Everything up to `NetStream.Play.Start`; media follows, which is the caller's to read."""
        self.connect(app, DEFAULT_CHUNK_SIZE)
        self._create_stream()
        self._command("play", 5.0, None, name, stream_id=self.stream_id)
        self._wait_for(b"NetStream.Play.Start")

    def connect(self, app: str, chunk_size: int) -> None:
        """Handshake and `connect`. Raises PublishError on a refusal or an early end."""
        self.shake_hands()
        self._set_chunk_size(chunk_size)
        url = f"rtmp://{self._host_and_port}/{app}"
        self._command(
            "connect", 1.0, {"app": app, "type": "nonprivate", "flashVer": "FMLE/3.0", "tcUrl": url}
        )
        self._wait_for(b"_result")

    def _create_stream(self) -> None:
        self._command("createStream", 4.0, None)
        self.stream_id = _created_stream_id(self._wait_for(b"_result\x00" + struct.pack(">d", 4.0)))

    def farewell(self, name: str) -> bytes:
        """The commands that end a publication in good order."""
        commands = (
            amf("FCUnpublish", 6.0, None, name),
            amf("deleteStream", 7.0, None, float(self.stream_id)),
        )
        return b"".join(
            new_message(_COMMAND_STREAM, _COMMAND_MESSAGE, 0, 0, command, self._chunk_size)
            for command in commands
        )

    def shake_hands(self) -> None:
        self.sock.sendall(b"\x03" + bytes(HANDSHAKE_BYTES))
        answer = self._read_exactly(1 + 2 * HANDSHAKE_BYTES)
        self.sock.sendall(answer[1 : 1 + HANDSHAKE_BYTES])

    def _set_chunk_size(self, chunk_size: int) -> None:
        payload = chunk_size.to_bytes(4, "big")
        self.sock.sendall(
            new_message(_CONTROL_STREAM, _SET_CHUNK_SIZE, 0, 0, payload, self._chunk_size),
        )
        self._chunk_size = chunk_size

    def _command(self, *values: str | float | dict[str, str] | None, stream_id: int = 0) -> None:
        message = new_message(_COMMAND_STREAM, _COMMAND_MESSAGE, stream_id, 0, amf(*values), self._chunk_size)
        self.sock.sendall(message)

    def _wait_for(self, pattern: bytes) -> bytes:
        while True:
            for message in self._replies.messages():
                if pattern in message:
                    return message
                if b"_error" in message or b"level\x02\x00\x05error" in message:
                    raise PublishError(f"refused: {message!r}")
            self._replies.feed(self._read_some())

    def _read_some(self) -> bytes:
        data = self.sock.recv(65536)
        if not data:
            raise PublishError("the server closed the connection before the stream was published")
        return data

    def _read_exactly(self, size_bytes: int) -> bytes:
        data = b""
        while len(data) < size_bytes:
            data += self.sock.recv(size_bytes - len(data)) or self._read_some()
        return data


@dataclass(slots=True)
class _Assembly:
    size_bytes: int = 0
    type_id: int = 0
    payload: bytes = b""


class ReplyReader:
    """Reads a server's answers: whole messages of any chunk stream, payloads only."""

    def __init__(self) -> None:
        self._buffer = b""
        self._chunk_size = DEFAULT_CHUNK_SIZE
        self._assemblies: dict[int, _Assembly] = {}

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def messages(self) -> list[bytes]:
        """The payloads that have become complete."""
        found: list[bytes] = []
        while (size_bytes := self._read_chunk(found)) > 0:
            self._buffer = self._buffer[size_bytes:]
        return found

    def _read_chunk(self, found: list[bytes]) -> int:
        """Read one chunk at the buffer's start; returns its size, 0 when it is not all there."""
        buffer = self._buffer
        if not buffer:
            return 0
        header_format, chunk_stream = buffer[0] >> 6, buffer[0] & 0x3F
        body_at = 1 + _HEADER_BYTES[header_format]
        if len(buffer) < body_at:
            return 0
        assembly = self._assemblies.setdefault(chunk_stream, _Assembly())
        size_bytes, type_id = assembly.size_bytes, assembly.type_id
        if header_format < 2:
            size_bytes, type_id = int.from_bytes(buffer[4:7], "big"), buffer[7]
        wanted = min(self._chunk_size, size_bytes - len(assembly.payload))
        if len(buffer) < body_at + wanted:
            return 0
        assembly.size_bytes, assembly.type_id = size_bytes, type_id
        assembly.payload += buffer[body_at : body_at + wanted]
        if len(assembly.payload) == size_bytes:
            self._complete(assembly, found)
        return body_at + wanted

    def _complete(self, assembly: _Assembly, found: list[bytes]) -> None:
        if assembly.type_id == _SET_CHUNK_SIZE:
            self._chunk_size = int.from_bytes(assembly.payload[:4], "big")
        found.append(assembly.payload)
        assembly.payload = b""


def _created_stream_id(result: bytes) -> int:
    """The number at the end of createStream's `_result`."""
    return int(struct.unpack(">d", result[-8:])[0])
