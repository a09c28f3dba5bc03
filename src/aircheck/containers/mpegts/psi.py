"""Program tables (ISO/IEC 13818-1, 2.4.4) and the time table of DVB (EN 300 468, 5.2.5)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from aircheck.containers.mpegts.packets import (
    BODY_ONLY,
    PMT_PID,
    SYNC,
    UNIT_START,
)
from aircheck.containers.mpegts.rows import BODY_BYTES, PACKET_BYTES

PROGRAM = 1
_TRANSPORT_STREAM_ID = 1
_PAT_TABLE, _PMT_TABLE, _TDT_TABLE = 0x00, 0x02, 0x70
_UNIX_EPOCH_MJD = 40587
_DAY_S = 86400


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """One elementary stream as the PMT lists it, and what the PMT says of the program because of it."""

    pid: int
    stream_type: int
    descriptors: bytes
    program_descriptors: bytes = b""


@cache
def pat() -> bytes:
    return _section(_PAT_TABLE, _TRANSPORT_STREAM_ID, 0, struct.pack(">HH", PROGRAM, 0xE000 | PMT_PID))


def pmt(streams: Sequence[StreamEntry], pcr_pid: int, version: int) -> bytes:
    entries = b"".join(
        struct.pack(">BHH", entry.stream_type, 0xE000 | entry.pid, 0xF000 | len(entry.descriptors))
        + entry.descriptors
        for entry in streams
    )
    info = b"".join(entry.program_descriptors for entry in streams)
    head = struct.pack(">HH", 0xE000 | pcr_pid, 0xF000 | len(info))
    return _section(_PMT_TABLE, PROGRAM, version, head + info + entries)


def time_table(time_ns: int) -> bytes:
    """UTC as a Modified Julian Date and six decimal digits."""
    days, seconds = divmod(time_ns // 10**9, _DAY_S)
    digits = f"{seconds // 3600:02}{seconds // 60 % 60:02}{seconds % 60:02}"
    body = (_UNIX_EPOCH_MJD + days & 0xFFFF).to_bytes(2, "big") + bytes.fromhex(digits)
    return struct.pack(">BH", _TDT_TABLE, 0x7000 | len(body)) + body


def _section(table: int, extension: int, version: int, body: bytes) -> bytes:
    size = 5 + len(body) + 4
    head = struct.pack(">BHHBBB", table, 0xB000 | size, extension, 0xC1 | version << 1, 0, 0)
    section = head + body
    return section + crc32(section).to_bytes(4, "big")


def section_packet(pid: int, counter: int, section: bytes) -> bytes:
    """A packet with one whole section, which is short enough."""
    head = bytes((SYNC, UNIT_START | pid >> 8, pid & 0xFF, BODY_ONLY | counter, 0))
    return head + section.ljust(BODY_BYTES - 1, b"\xff")


def section_of(unit: bytes) -> bytes:
    """The section in a packet of `section_packet`, with what fills it up; empty for nothing."""
    return unit[PACKET_BYTES - BODY_BYTES + 1 : PACKET_BYTES]


def section_version(section: bytes) -> int:
    return section[5] >> 1 & 31 if len(section) > 5 else 0


def _crc_of(octet: int) -> int:
    value = octet << 24
    for _ in range(8):
        value = (value << 1 ^ 0x04C11DB7 if value & 0x80000000 else value << 1) & 0xFFFFFFFF
    return value


_CRC_TABLE = tuple(map(_crc_of, range(256)))


def crc32(data: bytes) -> int:
    """CRC-32/MPEG-2 (annex A)."""
    value = 0xFFFFFFFF
    for octet in data:
        value = (value << 8 & 0xFFFFFFFF) ^ _CRC_TABLE[value >> 24 ^ octet]
    return value
