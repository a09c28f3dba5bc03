"""RTMP messages: types, protocol and user control messages, data, Aggregate (RTMP specification 5.4, 7.1)."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple, TypeAlias

from aircheck.wire import amf
from aircheck.wire.errors import AmfError

Buffer: TypeAlias = bytes | bytearray | memoryview

MediaMessage: TypeAlias = tuple[int, int, bytes | bytearray]
"""Type id (8 audio, 9 video, 18 data), timestamp in ms (32-bit, wraps), payload. The payload belongs to the
receiver: it never is a view of a read buffer."""


class MessageType(IntEnum):
    SET_CHUNK_SIZE = 1
    ABORT = 2
    ACKNOWLEDGEMENT = 3
    USER_CONTROL = 4
    WINDOW_ACK_SIZE = 5
    SET_PEER_BANDWIDTH = 6
    AUDIO = 8
    VIDEO = 9
    DATA_AMF3 = 15
    SHARED_OBJECT_AMF3 = 16
    COMMAND_AMF3 = 17
    DATA_AMF0 = 18
    SHARED_OBJECT_AMF0 = 19
    COMMAND_AMF0 = 20
    AGGREGATE = 22


class UserControl(IntEnum):
    STREAM_BEGIN = 0
    STREAM_EOF = 1
    STREAM_DRY = 2
    SET_BUFFER_LENGTH = 3
    STREAM_IS_RECORDED = 4
    PING_REQUEST = 6
    PING_RESPONSE = 7


class Message(NamedTuple):
    """Any message that is neither audio nor video."""

    type_id: int
    timestamp: int
    stream_id: int
    payload: Buffer
    offset: int
    """Where it began, counted in everything received."""


class MediaRun(NamedTuple):
    """Audio and video of one message stream with no other message between."""

    stream_id: int
    messages: list[MediaMessage]


_uint32 = struct.Struct(">I")
_user_control = struct.Struct(">HI")
_two_uint32 = struct.Struct(">HII")


def uint32(value: int) -> bytes:
    """The payload of SetChunkSize, Acknowledgement and WindowAckSize."""
    return _uint32.pack(value)


def set_peer_bandwidth(size_bytes: int, limit_type: int) -> bytes:
    """`limit_type`: 0 hard, 1 soft, 2 dynamic."""
    return _uint32.pack(size_bytes) + bytes((limit_type,))


def user_control(event: UserControl, value: int, extra: int | None = None) -> bytes:
    """`value` is the stream id or the ping's timestamp, `extra` the buffer length in ms."""
    if extra is None:
        return _user_control.pack(event, value)
    return _two_uint32.pack(event, value, extra)


def parse_user_control(payload: Buffer) -> tuple[int, tuple[int, ...]]:
    """The event and the 32-bit numbers behind it; a payload without an event is event -1."""
    if len(payload) < 2:
        return -1, ()
    event = payload[0] << 8 | payload[1]
    end = 2 + (len(payload) - 2) // 4 * 4
    return event, tuple(number for (number,) in _uint32.iter_unpack(payload[2:end]))


_DATA_FRAME = amf.serialize("@setDataFrame")


def data_payload(type_id: int, payload: Buffer) -> bytes:
    """A data message as an FLV script tag holds it: AMF0, without `@setDataFrame`.

    What cannot be read stays as it is: a broken onMetaData must not end a stream.
    """
    plain = bytes(payload)
    if type_id == MessageType.DATA_AMF3:
        plain = _as_amf0(plain)
    return plain.removeprefix(_DATA_FRAME)


def _as_amf0(payload: bytes) -> bytes:
    """An AMF3 data message: a format byte 0, then AMF0 that may switch to AMF3 for single values."""
    plain = payload.removeprefix(b"\0")
    try:
        values = amf.parse(plain)
    except AmfError:
        return plain
    return amf.serialize(*(_without_bytes(value) for value in values))


def _without_bytes(value: amf.AmfValue) -> amf.AmfValue:
    """AMF0 has no byte arrays: they become undefined."""
    if isinstance(value, bytes):
        return amf.UNDEFINED
    if isinstance(value, list):
        return [_without_bytes(item) for item in value]
    if isinstance(value, dict):
        for key in value:
            value[key] = _without_bytes(value[key])
    return value


_AGGREGATE_HEADER_BYTES = 11
_BACK_POINTER_BYTES = 4


def split_aggregate(payload: Buffer, timestamp: int) -> tuple[list[MediaMessage], bool]:
    """The messages in an Aggregate and whether it is whole (7.1.6).

    The first one gets the aggregate's timestamp, the others keep their distance from the first. A part that
    is cut short is left out.
    """
    messages: list[MediaMessage] = []
    position, first_timestamp = 0, None
    while position + _AGGREGATE_HEADER_BYTES <= len(payload):
        type_id = payload[position]
        size_bytes = int.from_bytes(payload[position + 1 : position + 4], "big")
        own = int.from_bytes(payload[position + 4 : position + 7], "big") | payload[position + 7] << 24
        start = position + _AGGREGATE_HEADER_BYTES
        if start + size_bytes > len(payload):
            return messages, False
        if first_timestamp is None:
            first_timestamp = own
        rebased = timestamp + own - first_timestamp & 0xFFFFFFFF
        messages.append(_part(type_id, rebased, bytes(payload[start : start + size_bytes])))
        position = start + size_bytes + _BACK_POINTER_BYTES
    return messages, position >= len(payload)


def _part(type_id: int, timestamp: int, payload: bytes) -> MediaMessage:
    if type_id in (MessageType.DATA_AMF0, MessageType.DATA_AMF3):
        return MessageType.DATA_AMF0, timestamp, data_payload(type_id, payload)
    return type_id, timestamp, payload
