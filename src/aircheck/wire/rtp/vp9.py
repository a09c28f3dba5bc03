"""VP9 in RTP (RFC 9628): each spatial layer's frame behind a descriptor; a picture is all of its layers."""

from __future__ import annotations

from collections.abc import Sequence

from aircheck.wire.rtp.errors import RtpError
from aircheck.wire.rtp.packet import HEAD
from aircheck.wire.rtp.payload import MTU_BYTES

_PICTURE_ID, _INTER, _LAYERS, _FLEXIBLE = 0x80, 0x40, 0x20, 0x10
_BEGIN, _END, _STRUCTURE = 0x08, 0x04, 0x02
_MAX_REFERENCES = 3
_MAX_LAYERS = 8
_DESCRIPTOR_BYTES = 3


class Vp9Depacketizer:
    """The frames of a picture's spatial layers become one superframe (VP9 specification, annex B), so that a
    decoder is given the whole picture at once."""

    def __init__(self) -> None:
        self._layers: list[list[bytes]] = []
        self._is_within = False

    def begins_frame(self, packet: bytes, start: int, end: int) -> bool:
        return bool(packet[start] & _BEGIN) and not self._is_upper_layer(packet, start, end)

    def _is_upper_layer(self, packet: bytes, start: int, end: int) -> bool:
        first = packet[start]
        if not first & _LAYERS:
            return False
        try:
            position = _skip_picture_id(packet, start, end)
        except RtpError:
            return False  # `push` will find that out
        return position < end and bool(packet[position] >> 1 & 7)

    def push(self, packet: bytes, start: int, end: int) -> None:
        first = packet[start]
        body = _skip_descriptor(packet, start, end)
        if body >= end:
            raise RtpError("a VP9 payload without data", data=packet[start:end])
        if bool(first & _BEGIN) == self._is_within:
            raise RtpError("a VP9 frame that begins twice, or not at all", data=packet[start:end])
        if first & _BEGIN:
            if len(self._layers) == _MAX_LAYERS:
                raise RtpError("a VP9 picture of more than eight layers", data=packet[start:end])
            self._layers.append([])
        self._layers[-1].append(packet[body:end])
        self._is_within = not first & _END

    def finish(self) -> list[bytes]:
        layers, is_whole = self._layers, not self._is_within
        self.reset()
        if not (layers and is_whole):
            raise RtpError("a VP9 frame without its end")
        frames = [b"".join(layer) for layer in layers]
        return frames if len(frames) == 1 else [_superframe(frames)]

    def reset(self) -> None:
        self._layers = []
        self._is_within = False


def _superframe(frames: Sequence[bytes]) -> bytes:
    """The frames behind each other, with an index of their sizes in four bytes each."""
    marker = bytes((0xC0 | 3 << 3 | len(frames) - 1,))
    sizes = b"".join(len(frame).to_bytes(4, "little") for frame in frames)
    return b"".join(frames) + marker + sizes + marker


def _skip_picture_id(packet: bytes, start: int, end: int) -> int:
    position = start + 1
    if packet[start] & _PICTURE_ID:
        if position >= end:
            raise RtpError("a VP9 descriptor is cut off", data=packet[start:end])
        position += 2 if packet[position] & 0x80 else 1
    return position


def _skip_descriptor(packet: bytes, start: int, end: int) -> int:
    first = packet[start]
    position = _skip_picture_id(packet, start, end)
    try:
        if first & _LAYERS:
            position += 1 if first & _FLEXIBLE else 2
        if first & _FLEXIBLE and first & _INTER:
            position = _skip_references(packet, position)
        if first & _STRUCTURE:
            position = _skip_structure(packet, position)
    except IndexError:
        raise RtpError("a VP9 descriptor is cut off", data=packet[start:end]) from None
    return position


def _skip_references(packet: bytes, position: int) -> int:
    for _ in range(_MAX_REFERENCES):
        position += 1
        if not packet[position - 1] & 1:
            return position
    raise RtpError("a VP9 frame with more than three references", data=packet)


def _skip_structure(packet: bytes, position: int) -> int:
    """Sizes of the layers and the pictures of a group (4.2.1)."""
    head = packet[position]
    position += 1
    if head & 0x10:
        position += 4 * ((head >> 5) + 1)
    if head & 0x08:
        pictures = packet[position]
        position += 1
        for _ in range(pictures):
            position += 1 + (packet[position] >> 2 & 3)
    return position


class Vp9Packetizer:
    """Frames of one layer, in non-flexible mode; numbers pictures, so that a receiver can tell them apart."""

    def __init__(self, mtu_bytes: int = MTU_BYTES) -> None:
        self._room = mtu_bytes - HEAD.size - _DESCRIPTOR_BYTES
        self._picture_id = 0

    def packetize(self, frame: bytes, *, is_keyframe: bool) -> list[bytes]:
        flags = _PICTURE_ID | (0 if is_keyframe else _INTER)
        picture_id = (0x8000 | self._picture_id).to_bytes(2, "big")
        self._picture_id = (self._picture_id + 1) & 0x7FFF
        pieces = [frame[at : at + self._room] for at in range(0, len(frame), self._room)]
        last = len(pieces) - 1
        return [
            bytes((flags | (0 if index else _BEGIN) | (_END if index == last else 0),)) + picture_id + piece
            for index, piece in enumerate(pieces)
        ]
