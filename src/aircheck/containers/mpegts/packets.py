"""Transport packets (ISO/IEC 13818-1, 2.4.3): cutting PES packets into pieces of 184 bytes, at C speed."""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Callable
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
RANDOM_ACCESS_FIELD = bytes((1, _RANDOM_ACCESS))
"""An adaptation field: decoding can begin here."""

_RUN = 64
"""How many packets are cut by one call: few enough that what it makes stays in the fastest cache."""
_COUNTERS = 16
_MANY = 1024
"""Packets of one PES packet for which headers are ready; larger ones are rare."""

_pack_pcr = struct.Struct(">BBIH").pack
_pack_header = struct.Struct(">BHB").pack


def _word(header: bytes) -> int:
    """Four bytes as `array("I")` holds them."""
    return int.from_bytes(header, sys.byteorder)


_START_MARK = _word(bytes((0, UNIT_START, 0, 0)))
_ADAPTATION_MARK = _word(bytes((0, 0, 0, ADAPTATION_ONLY)))
_FIRST_WITH_FIELD = _START_MARK | _ADAPTATION_MARK


@cache
def headers_of(pid: int) -> array[int]:
    """Headers, as words, of packets that only continue; enough of them for a start with any counter."""
    cycle = [_pack_header(SYNC, pid, BODY_ONLY | counter) for counter in range(_COUNTERS)]
    return array("I", b"".join(cycle)) * (_MANY // _COUNTERS + 1)


@cache
def _reader(packets: int) -> Callable[[Payload, int], tuple[bytes, ...]]:
    """Takes so many packets' contents apart."""
    return struct.Struct(f"{BODY_BYTES}s" * packets).unpack_from


@cache
def _writer(packets: int) -> Callable[..., None]:
    """Puts them into a file, with room for their headers."""
    return struct.Struct(f"4x{BODY_BYTES}s" * packets).pack_into


def _stuffing(size: int) -> bytes:
    """An adaptation field of `size` bytes that says nothing."""
    return bytes((size - 1, 0)[:size]).ljust(size, b"\xff")


_STUFFING = tuple(map(_stuffing, range(BODY_BYTES)))


def _many_headers(headers: array[int], counter: int, count: int) -> array[int]:
    return (headers * (count // _MANY + 1))[counter : counter + count]


class PacketRun:
    """Transport packets on their way into a file: contents first, then all are cut and headed at once."""

    __slots__ = ("_contents", "_headers")

    def __init__(self) -> None:
        self._contents: list[Payload] = []
        """184 bytes for each header."""
        self._headers = array("I")

    def add_packet(self, packet: bytes) -> None:
        """A packet that is made already."""
        self._headers.frombytes(packet[:4])
        self._contents.append(packet[4:])

    def add_unit(
        self, headers: array[int], counter: int, field: bytes, head: bytes, body: Payload, skipped: int = 0
    ) -> int:
        """Add the packets of one PES packet; returns the next continuity counter.

        `headers` are those of its PID. `field`, the first packet's adaptation field if there is one, and
        `head` fit into the first packet; of `body` behind them the first `skipped` bytes are left out.
        """
        end = len(body)
        count, last = divmod(len(field) + len(head) + end - skipped, BODY_BYTES)
        view = memoryview(body)
        if not last:
            self._contents += field, head, view[skipped:]
        elif not count:
            field = _stuffed(field, BODY_BYTES - len(head) - end + skipped)
            count = 1
            self._contents += field, head, view[skipped:]
        else:
            count += 1
            cut = end - last
            self._contents += field, head, view[skipped:cut], _STUFFING[BODY_BYTES - last], view[cut:]
        words = (
            headers[counter : counter + count] if count <= _MANY else _many_headers(headers, counter, count)
        )
        words[0] |= _FIRST_WITH_FIELD if field else _START_MARK
        if last:
            words[-1] |= _ADAPTATION_MARK
        self._headers += words
        return counter + count & 15

    def serialize(self) -> bytearray:
        contents, count = b"".join(self._contents), len(self._headers)
        packets = bytearray(count * PACKET_BYTES)
        for start in range(0, count, _RUN):
            size = min(_RUN, count - start)
            pieces = _reader(size)(contents, start * BODY_BYTES)
            _writer(size)(packets, start * PACKET_BYTES, *pieces)
        memoryview(packets).cast("I")[:: PACKET_BYTES // 4] = memoryview(self._headers)
        return packets


def _stuffed(field: bytes, size: int) -> bytes:
    """The adaptation field, or none, filled up to `size` bytes."""
    return bytes((size - 1,)) + field[1:].ljust(size - 1, b"\xff") if field else _STUFFING[size]


def null_packet(body: bytes) -> bytes:
    """A packet that every reader drops; at most 184 bytes fit."""
    return bytes((SYNC, NULL_PID >> 8, NULL_PID & 0xFF, BODY_ONLY)) + body.ljust(BODY_BYTES, b"\xff")


def pcr_field(time: int, *, is_random_access: bool) -> bytes:
    """An adaptation field with a program clock reference, in ticks of 90 kHz."""
    flags = _HAS_PCR | _RANDOM_ACCESS if is_random_access else _HAS_PCR
    return _pack_pcr(7, flags, time >> 1 & 0xFFFFFFFF, (time & 1) << 15 | 0x7E00)


def clock_packet(pid: int, counter: int, time: int) -> bytes:
    """A packet with nothing but a clock reference: it has the counter of the packet before."""
    head = bytes((SYNC, pid >> 8, pid & 0xFF, ADAPTATION_ONLY | (counter - 1 & 15)))
    return head + _stuffed(pcr_field(time, is_random_access=False), BODY_BYTES)
