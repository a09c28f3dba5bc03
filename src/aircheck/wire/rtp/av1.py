"""AV1 in RTP (RTP Payload Format For AV1, v1.0): OBUs without sizes, in elements that may be fragments."""

from __future__ import annotations

from collections.abc import Iterator

from aircheck.media.av1 import (
    OBU_SEQUENCE_HEADER,
    OBU_TEMPORAL_DELIMITER,
    read_leb128,
    split_obus,
    write_leb128,
)
from aircheck.media.bits import BitstreamError
from aircheck.wire.rtp.errors import RtpError
from aircheck.wire.rtp.packet import HEAD
from aircheck.wire.rtp.payload import MTU_BYTES

_CONTINUES, _IS_CONTINUED, _NEW_SEQUENCE = 0x80, 0x40, 0x08
_HAS_SIZE, _HAS_EXTENSION = 0x02, 0x04
_OBU_TILE_LIST = 8
_LEFT_OUT = frozenset((OBU_TEMPORAL_DELIMITER, _OBU_TILE_LIST))
"""Not to be sent, and to be ignored when they are (5)."""

_LENGTH_BYTES = 2
"""Of an element's length: none is longer than a packet."""


class Av1Depacketizer:
    """`finish` returns OBUs with sizes, without temporal delimiters."""

    def __init__(self) -> None:
        self._obus: list[bytes] = []
        self._fragments: list[bytes] = []

    def begins_frame(self, packet: bytes, start: int, end: int) -> bool:
        return bool(packet[start] & _NEW_SEQUENCE) and not packet[start] & _CONTINUES

    def push(self, packet: bytes, start: int, end: int) -> None:
        head = packet[start]
        if bool(head & _CONTINUES) != bool(self._fragments):
            raise RtpError("an OBU that begins twice, or not at all", data=packet[start:end])
        elements = _split_elements(packet, start + 1, end, head >> 4 & 3)
        if not elements:
            raise RtpError("an AV1 payload without data", data=packet[start:end])
        last = len(elements) - 1
        for index, element in enumerate(elements):
            self._fragments.append(element)
            if index < last or not head & _IS_CONTINUED:
                self._end_obu()

    def _end_obu(self) -> None:
        obu = b"".join(self._fragments)
        self._fragments = []
        sized = with_size(obu)
        if sized[0] >> 3 & 15 not in _LEFT_OUT:
            self._obus.append(sized)

    def finish(self) -> list[bytes]:
        obus, is_whole = self._obus, not self._fragments
        self.reset()
        if not (obus and is_whole):
            raise RtpError("a temporal unit without its last OBU")
        return obus

    def reset(self) -> None:
        self._obus, self._fragments = [], []


def _split_elements(packet: bytes, position: int, end: int, count: int) -> list[bytes]:
    """`count` elements, of which the last has no length; for 0 as many as there are, all with lengths."""
    elements: list[bytes] = []
    while position < end:
        to = end
        if len(elements) + 1 != count:
            try:
                size, position = read_leb128(packet, position)
            except BitstreamError as error:
                raise RtpError(str(error), data=packet) from None
            to = position + size
        if not position < to <= end:
            raise RtpError("an OBU element is cut off", data=packet)
        elements.append(packet[position:to])
        position = to
    if count and len(elements) != count:
        raise RtpError(f"{len(elements)} OBU elements instead of {count}", data=packet)
    return elements


def with_size(obu: bytes) -> bytes:
    """An OBU with its size field. Raises RtpError."""
    head = obu[0]
    at = 2 if head & _HAS_EXTENSION else 1
    if head & 0x80 or len(obu) < at:
        raise RtpError("no OBU", data=obu)
    if not head & _HAS_SIZE:
        return bytes((head | _HAS_SIZE,)) + obu[1:at] + write_leb128(len(obu) - at) + obu[at:]
    try:
        size, body = read_leb128(obu, at)
    except BitstreamError as error:
        raise RtpError(str(error), data=obu) from None
    if body + size != len(obu):
        raise RtpError("an OBU whose size is not its element's", data=obu)
    return obu


class Av1Packetizer:
    """Temporal units as MP4 keeps them; every element has its length."""

    def __init__(self, mtu_bytes: int = MTU_BYTES) -> None:
        self._room = mtu_bytes - HEAD.size - 1

    def packetize(self, frame: bytes, *, is_keyframe: bool) -> list[bytes]:
        obus = [obu for obu in split_obus(frame) if obu.type not in _LEFT_OUT]
        is_new = is_keyframe and any(obu.type == OBU_SEQUENCE_HEADER for obu in obus)
        bodies = list(self._bodies([_without_size(bytes(obu.whole), bytes(obu.payload)) for obu in obus]))
        heads = [flags for flags, _ in bodies]
        if heads and is_new:
            heads[0] |= _NEW_SEQUENCE
        return [bytes((head,)) + body for head, (_, body) in zip(heads, bodies, strict=True)]

    def _bodies(self, obus: list[bytes]) -> Iterator[tuple[int, bytes]]:
        """Flags and elements of each payload."""
        flags, body = 0, b""
        for obu in obus:
            position = 0
            while position < len(obu):
                room = self._room - len(body) - _LENGTH_BYTES
                if room <= 0:
                    yield flags | (_IS_CONTINUED if position else 0), body
                    flags, body = _CONTINUES if position else 0, b""
                    continue
                piece = obu[position : position + room]
                body += write_leb128(len(piece)) + piece
                position += len(piece)
        if body:
            yield flags, body


def _without_size(obu: bytes, payload: bytes) -> bytes:
    extension = obu[1:2] if obu[0] & _HAS_EXTENSION else b""
    return bytes((obu[0] & ~_HAS_SIZE,)) + extension + payload
