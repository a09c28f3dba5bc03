"""VP8 in RTP (RFC 7741): frames as they are, behind a descriptor of one to six bytes."""

from __future__ import annotations

from aircheck.wire.rtp.errors import RtpError
from aircheck.wire.rtp.packet import HEAD
from aircheck.wire.rtp.payload import MTU_BYTES

_EXTENDED, _PICTURE_ID, _TL0, _LAYER_OR_KEY = 0x80, 0x80, 0x40, 0x30
_BEGIN_MASK, _BEGIN = 0x17, 0x10
"""S bit and partition index: a frame begins where S is set in partition 0."""

_LONG_PICTURE_ID = 0x80
_DESCRIPTOR_BYTES = 4


class Vp8Depacketizer:
    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def begins_frame(self, packet: bytes, start: int, end: int) -> bool:
        return packet[start] & _BEGIN_MASK == _BEGIN

    def push(self, packet: bytes, start: int, end: int) -> None:
        begins = packet[start] & _BEGIN_MASK == _BEGIN
        if begins == bool(self._parts):
            raise RtpError("a VP8 frame that begins twice, or not at all", data=packet[start:end])
        body = _skip_descriptor(packet, start, end)
        if body >= end:
            raise RtpError("a VP8 payload without data", data=packet[start:end])
        self._parts.append(packet[body:end])

    def finish(self) -> list[bytes]:
        parts, self._parts = self._parts, []
        if not parts:
            raise RtpError("a VP8 frame without data")
        return [b"".join(parts)]

    def reset(self) -> None:
        self._parts = []


def _skip_descriptor(packet: bytes, start: int, end: int) -> int:
    if not packet[start] & _EXTENDED:
        return start + 1
    position = start + 2
    if position >= end:
        raise RtpError("a VP8 descriptor is cut off", data=packet[start:end])
    extension = packet[start + 1]
    if extension & _PICTURE_ID:
        position += 2 if packet[position] & _LONG_PICTURE_ID else 1
    position += bool(extension & _TL0) + bool(extension & _LAYER_OR_KEY)
    return position


class Vp8Packetizer:
    """Numbers pictures, so that a receiver can tell them apart."""

    def __init__(self, mtu_bytes: int = MTU_BYTES) -> None:
        self._room = mtu_bytes - HEAD.size - _DESCRIPTOR_BYTES
        self._picture_id = 0

    def packetize(self, frame: bytes, *, is_keyframe: bool) -> list[bytes]:
        room, picture_id = self._room, 0x8000 | self._picture_id
        self._picture_id = (self._picture_id + 1) & 0x7FFF
        head = bytes((_EXTENDED, _PICTURE_ID)) + picture_id.to_bytes(2, "big")
        payloads = [head + frame[at : at + room] for at in range(0, len(frame), room)]
        payloads[0] = bytes((_EXTENDED | _BEGIN,)) + payloads[0][1:]
        return payloads
