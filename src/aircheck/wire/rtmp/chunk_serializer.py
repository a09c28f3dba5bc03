"""Messages to the chunk stream (RTMP specification 5.3)."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from aircheck.wire.errors import LocalProtocolError
from aircheck.wire.rtmp.chunk_headers import DEFAULT_CHUNK_SIZE, EXTENDED, MASK32, serialize_basic_header
from aircheck.wire.rtmp.messages import Buffer, MessageType

CONTROL_CSID = 2
COMMAND_CSID = 3
STATUS_CSID = 5
DATA_CSID = 7
MEDIA_CSIDS = {int(MessageType.AUDIO): 4, int(MessageType.VIDEO): 6}

_uint32 = struct.Struct(">I")


class _Sent:
    """The last message on a chunk stream that we write."""

    __slots__ = ("stream_id", "timestamp")

    def __init__(self, timestamp: int, stream_id: int) -> None:
        self.timestamp = timestamp
        self.stream_id = stream_id


class ChunkSerializer:
    """Messages to chunks. Payloads are passed on, not copied: they must not change until they are written."""

    def __init__(self) -> None:
        self.chunk_size = DEFAULT_CHUNK_SIZE
        self._sent: dict[int, _Sent] = {}

    def serialize(
        self, out: list[Buffer], csid: int, type_id: int, timestamp: int, stream_id: int, payload: Buffer
    ) -> None:
        """Append the chunks of one message to `out`. Raises `LocalProtocolError` if it is too long."""
        length = len(payload)
        if length > 0xFFFFFF:
            raise LocalProtocolError(f"a message of {length} bytes; 16777215 are possible")
        header, extended = self._header(csid, type_id, timestamp & MASK32, stream_id, length)
        chunk_size = self.chunk_size
        if length <= chunk_size:
            out += (header, payload) if length else (header,)
            return
        continuation = serialize_basic_header(3, csid) + extended
        view = memoryview(payload)
        out += (header, view[:chunk_size])
        for start in range(chunk_size, length, chunk_size):
            out += (continuation, view[start : start + chunk_size])

    def serialize_all(
        self, out: list[Buffer], stream_id: int, messages: Iterable[tuple[int, int, Buffer]]
    ) -> None:
        """Append media messages, each on the chunk stream of its type."""
        for type_id, timestamp, payload in messages:
            self.serialize(out, MEDIA_CSIDS.get(type_id, DATA_CSID), type_id, timestamp, stream_id, payload)

    def _header(
        self, csid: int, type_id: int, timestamp: int, stream_id: int, length: int
    ) -> tuple[bytes, bytes]:
        """Of type 0 to begin with, for another message stream and for time that goes back; else of type 1."""
        sent = self._sent.get(csid)
        if sent is None:
            self._sent[csid] = _Sent(timestamp, stream_id)
            return self._full_header(csid, type_id, timestamp, stream_id, length)
        delta = timestamp - sent.timestamp & MASK32
        sent.timestamp = timestamp
        if sent.stream_id != stream_id or delta >= 0x80000000:
            sent.stream_id = stream_id
            return self._full_header(csid, type_id, timestamp, stream_id, length)
        field, extended = _timestamp_field(delta)
        return serialize_basic_header(1, csid) + _words(field, length, type_id) + extended, extended

    def _full_header(
        self, csid: int, type_id: int, timestamp: int, stream_id: int, length: int
    ) -> tuple[bytes, bytes]:
        field, extended = _timestamp_field(timestamp)
        words = _words(field, length, type_id)
        return serialize_basic_header(0, csid) + words + stream_id.to_bytes(4, "little") + extended, extended


def _timestamp_field(value: int) -> tuple[int, bytes]:
    return (EXTENDED, _uint32.pack(value)) if value >= EXTENDED else (value, b"")


def _words(field: int, length: int, type_id: int) -> bytes:
    return (field << 32 | length << 8 | type_id).to_bytes(7, "big")
