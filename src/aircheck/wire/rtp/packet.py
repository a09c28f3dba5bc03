"""RTP packets (RFC 3550, 5.1) and their header extensions (RFC 8285).

Hot paths read `HEAD` and `payload_bounds` and keep offsets; `RtpPacket` is for everybody else.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from aircheck.wire.rtp.errors import RtpError

HEAD = struct.Struct("!BBHII")
"""Version and flags; marker and payload type; sequence number; timestamp; SSRC."""

VERSION = 0x80
HAS_PADDING = 0x20
HAS_EXTENSION = 0x10
MARKER = 0x80
ONE_BYTE = 0xBEDE
TWO_BYTE = 0x1000
"""Profiles of header extensions; the low four bits of the second are for the application."""

_MAX_ONE_BYTE_ID = 14
_MAX_ONE_BYTE_SIZE = 16
_unpack_extension = struct.Struct("!HH").unpack_from


@dataclass(slots=True)
class RtpPacket:
    """One RTP packet. `extensions` maps ids of header extensions to their data."""

    payload_type: int
    sequence_number: int
    timestamp: int
    ssrc: int
    payload: bytes
    is_marked: bool = False
    csrcs: tuple[int, ...] = ()
    extensions: Mapping[int, bytes] = field(default_factory=dict)
    padding_bytes: int = 0

    @classmethod
    def parse(cls, data: bytes) -> RtpPacket:
        """Raises RtpError."""
        extension_at, start, end = payload_bounds(data)
        first, second, sequence_number, timestamp, ssrc = HEAD.unpack_from(data)
        csrcs = struct.unpack_from(f"!{first & 15}I", data, HEAD.size)
        return cls(
            second & 0x7F,
            sequence_number,
            timestamp,
            ssrc,
            data[start:end],
            second >= MARKER,
            csrcs,
            {key: data[at:to] for key, at, to in extension_elements(data, extension_at, start)},
            len(data) - end,
        )

    def serialize(self) -> bytes:
        extension = serialize_extensions(self.extensions)
        first = VERSION | (HAS_PADDING if self.padding_bytes else 0) | len(self.csrcs)
        first |= HAS_EXTENSION if extension else 0
        second = self.payload_type | (MARKER if self.is_marked else 0)
        head = HEAD.pack(first, second, self.sequence_number, self.timestamp, self.ssrc)
        padding = bytes(self.padding_bytes - 1) + bytes((self.padding_bytes,)) if self.padding_bytes else b""
        return head + struct.pack(f"!{len(self.csrcs)}I", *self.csrcs) + extension + self.payload + padding


def payload_bounds(packet: bytes) -> tuple[int, int, int]:
    """Where the header extension, if any, and the payload begin, and where the payload ends.

    Without a header extension the first two are the same. Raises RtpError.
    """
    size = len(packet)
    if size < HEAD.size or packet[0] >> 6 != 2:
        raise RtpError("no RTP packet", data=packet)
    first = packet[0]
    extension_at = start = HEAD.size + 4 * (first & 15)
    if first & HAS_EXTENSION:
        if start + 4 > size:
            raise RtpError("the header extension is cut off", data=packet)
        start += 4 + 4 * (packet[start + 2] << 8 | packet[start + 3])
    end = size
    if first & HAS_PADDING:
        if not packet[-1]:
            raise RtpError("padding of no bytes", data=packet)
        end -= packet[-1]
    if start > end:
        raise RtpError("header and padding are longer than the packet", data=packet)
    return extension_at, start, end


def find_extension(packet: bytes, key: int, extension_at: int, end: int) -> int:
    """Where the data of a header extension begins; 0 where there is none. For hot paths."""
    if packet[extension_at] != 0xBE or packet[extension_at + 1] != 0xDE:
        elements = extension_elements(packet, extension_at, end)
        return next((at for one, at, _ in elements if one == key), 0)
    position = extension_at + 4
    while position < end:
        octet = packet[position]
        position += 1
        if octet >> 4 == key:
            return position if position + (octet & 15) < end else 0
        if octet:
            position += (octet & 15) + 1
    return 0


def extension_elements(packet: bytes, extension_at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Id, begin and end of each header extension; what reaches beyond `end` is left out."""
    if end < extension_at + 4:
        return
    profile, _ = _unpack_extension(packet, extension_at)
    position = extension_at + 4
    if profile == ONE_BYTE:
        yield from _one_byte_elements(packet, position, end)
    elif profile & 0xFFF0 == TWO_BYTE:
        yield from _two_byte_elements(packet, position, end)


def _one_byte_elements(packet: bytes, position: int, end: int) -> Iterator[tuple[int, int, int]]:
    while position < end:
        octet = packet[position]
        position += 1
        if not octet:
            continue  # padding
        key, to = octet >> 4, position + (octet & 15) + 1
        if key > _MAX_ONE_BYTE_ID or to > end:
            return
        if key:
            yield key, position, to
        position = to


def _two_byte_elements(packet: bytes, position: int, end: int) -> Iterator[tuple[int, int, int]]:
    while position + 1 < end:
        key = packet[position]
        if not key:
            position += 1
            continue
        to = position + 2 + packet[position + 1]
        if to > end:
            return
        yield key, position + 2, to
        position = to


def serialize_extensions(extensions: Mapping[int, bytes]) -> bytes:
    """The header extension block, nothing for none: one-byte headers where they will do."""
    if not extensions:
        return b""
    is_short = all(
        key <= _MAX_ONE_BYTE_ID and 0 < len(data) <= _MAX_ONE_BYTE_SIZE for key, data in extensions.items()
    )
    if is_short:
        body = b"".join(bytes((key << 4 | len(data) - 1,)) + data for key, data in extensions.items())
    else:
        body = b"".join(bytes((key, len(data))) + data for key, data in extensions.items())
    body += bytes(-len(body) % 4)
    return struct.pack("!HH", ONE_BYTE if is_short else TWO_BYTE, len(body) // 4) + body
