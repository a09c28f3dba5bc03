"""Transport packets (ISO/IEC 13818-1, 2.4.3): cutting a PES packet into pieces of 184 bytes, at C speed."""

from __future__ import annotations

import struct
from functools import cache

from aircheck.media.packet import Payload

PACKET_BYTES = 188
BODY_BYTES = 184
SYNC = 0x47
TIME_MASK = (1 << 33) - 1

LEAD_TICKS = 126_000
"""Where a file's time 0 lies on its clock: earlier sound and decoding times stay positive."""

PAT_PID = 0x0000
TDT_PID = 0x0014
PMT_PID = 0x1000
FIRST_STREAM_PID = 0x0100
NULL_PID = 0x1FFF

UNIT_START = 0x40
BODY_ONLY, ADAPTATION_ONLY, ADAPTATION_AND_BODY = 0x10, 0x20, 0x30
_RANDOM_ACCESS, _HAS_PCR = 0x40, 0x10
RANDOM_ACCESS_FIELD = bytes((_RANDOM_ACCESS,))
"""Content of an adaptation field: decoding can begin here."""

_RUN = 64
"""How many whole packets are cut at once."""
_COUNTERS = 16


@cache
def _cutter(packets: int) -> struct.Struct:
    return struct.Struct(f"{BODY_BYTES}s" * packets)


@cache
def _headers(pid: int) -> list[bytes]:
    """Headers of packets that only continue, by continuity counter, enough of them for a run from any one."""
    headers = [bytes((SYNC, pid >> 8, pid & 0xFF, BODY_ONLY | counter)) for counter in range(_COUNTERS)]
    return headers * ((_RUN + _COUNTERS) // _COUNTERS)


@cache
def _stuffing(size: int) -> bytes:
    """An adaptation field of `size` bytes that says nothing."""
    return b"\0" if size == 1 else bytes((size - 1, 0)) + b"\xff" * (size - 2)


def append_unit(
    parts: list[Payload], pid: int, counter: int, head: bytes, body: Payload, adaptation: bytes = b""
) -> int:
    """Append the packets of one PES packet; returns the next continuity counter.

    `head` begins it and fits into the first packet, so that `body` need not be copied behind it. `adaptation`
    is the content of the first packet's adaptation field, its length left out.
    """
    room = BODY_BYTES - 1 - len(adaptation) if adaptation else BODY_BYTES
    first = room - len(head)
    size = len(body)
    if size < first:
        field = _stuffed(adaptation, BODY_BYTES - len(head) - size)
    else:
        field = bytes((len(adaptation),)) + adaptation if adaptation else b""
    control = (ADAPTATION_AND_BODY if field else BODY_ONLY) | counter
    parts.append(bytes((SYNC, UNIT_START | pid >> 8, pid & 0xFF, control)) + field + head)
    parts.append(body[:first])
    counter = counter + 1 & 15
    return _append_rest(parts, pid, counter, body, first) if size > first else counter


def _stuffed(adaptation: bytes, size: int) -> bytes:
    """The adaptation field filled up to `size` bytes, its length among them."""
    if not adaptation:
        return _stuffing(size)
    return (bytes((size - 1,)) + adaptation).ljust(size, b"\xff")


def _append_rest(parts: list[Payload], pid: int, counter: int, body: Payload, offset: int) -> int:
    headers = _headers(pid)
    whole, last = divmod(len(body) - offset, BODY_BYTES)
    while whole:
        run = whole if whole < _RUN else _RUN
        pieces: list[Payload] = [b""] * (2 * run)
        pieces[::2] = headers[counter : counter + run]
        pieces[1::2] = _cutter(run).unpack_from(body, offset)
        parts += pieces
        counter = counter + run & 15
        offset += run * BODY_BYTES
        whole -= run
    if last:
        control = ADAPTATION_AND_BODY | counter
        parts.append(bytes((SYNC, pid >> 8, pid & 0xFF, control)) + _stuffing(BODY_BYTES - last))
        parts.append(body[offset:])
        counter = counter + 1 & 15
    return counter


def null_packet(body: bytes) -> bytes:
    """A packet that every reader drops; at most 184 bytes fit."""
    return bytes((SYNC, NULL_PID >> 8, NULL_PID & 0xFF, BODY_ONLY)) + body.ljust(BODY_BYTES, b"\xff")


def pcr_field(time: int, *, is_random_access: bool) -> bytes:
    """Adaptation field content with a program clock reference, in ticks of 90 kHz."""
    flags = _HAS_PCR | _RANDOM_ACCESS if is_random_access else _HAS_PCR
    return (flags << 48 | (time & TIME_MASK) << 15 | 0x7E00).to_bytes(7, "big")


def clock_packet(pid: int, counter: int, time: int) -> bytes:
    """A packet with nothing but a clock reference: it has the counter of the packet before."""
    head = bytes((SYNC, pid >> 8, pid & 0xFF, ADAPTATION_ONLY | (counter - 1 & 15)))
    return head + _stuffed(pcr_field(time, is_random_access=False), BODY_BYTES)
