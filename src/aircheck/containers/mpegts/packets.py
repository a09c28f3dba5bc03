"""Transport packets (ISO/IEC 13818-1, 2.4.3): cutting PES packets into pieces of 184 bytes, at C speed."""

from __future__ import annotations

import struct
from functools import cache

from aircheck.containers.mpegts.rows import BODY_BYTES, to_packets
from aircheck.media.packet import Payload

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
_RANDOM_ACCESS, HAS_CLOCK = 0x40, 0x10
CLOCK_FIELD_BYTES = 8
"""Of an adaptation field with nothing but a clock reference."""
RANDOM_ACCESS_FIELD = bytes((1, _RANDOM_ACCESS))
"""An adaptation field: decoding can begin here."""

_COUNTERS = 16
_MANY = 1024
"""Packets of one PES packet for which headers are ready; larger ones are rare."""

_pack_pcr = struct.Struct(">BBIH").pack
_pack_header = struct.Struct(">BHB").pack


class PidHeaders:
    """The first four bytes of a PID's packets: lists by continuity counter, and the counters one by one."""

    __slots__ = ("cycle", "first", "first_with_field", "last_with_field")

    def __init__(self, pid: int) -> None:
        self.first = _each_counter(UNIT_START << 8 | pid, BODY_ONLY)
        self.first_with_field = _each_counter(UNIT_START << 8 | pid, ADAPTATION_AND_BODY)
        self.last_with_field = _each_counter(pid, ADAPTATION_AND_BODY)
        self.cycle = b"".join(_each_counter(pid, BODY_ONLY)) * (_MANY // _COUNTERS + 1)

    def between(self, counter: int, count: int) -> bytes:
        """Those of `count` packets that only continue, the first with this counter."""
        cycle = self.cycle if count <= _MANY else self.cycle * (count // _MANY + 1)
        return cycle[4 * counter : 4 * (counter + count)]


def _each_counter(pid: int, mark: int) -> list[bytes]:
    return [_pack_header(SYNC, pid, mark | counter) for counter in range(_COUNTERS)]


headers_of = cache(PidHeaders)


def _stuffing(size: int) -> bytes:
    """An adaptation field of `size` bytes that says nothing."""
    return bytes((size - 1, 0)[:size]).ljust(size, b"\xff")


_STUFFING = tuple(map(_stuffing, range(BODY_BYTES)))


class PacketRun:
    """Transport packets on their way into a file: contents first, then all are cut and headed at once."""

    __slots__ = ("_contents", "_headers")

    def __init__(self) -> None:
        self._contents: list[Payload] = []
        """184 bytes for each header."""
        self._headers: list[bytes] = []

    def add_packet(self, packet: bytes) -> None:
        """A packet that is made already."""
        self._headers.append(packet[:4])
        self._contents.append(packet[4:])

    def add_unit(
        self,
        headers: PidHeaders,
        counter: int,
        head: bytes,
        field_bytes: int,
        body: Payload,
        skipped: int = 0,
    ) -> int:
        """Add the packets of one PES packet; returns the next continuity counter.

        `headers` are those of its PID. `head` fits into the first packet and begins with its adaptation
        field, if there is one; of `body` behind it the first `skipped` bytes are left out.
        """
        end = len(body)
        count, last = divmod(len(head) + end - skipped, BODY_BYTES)
        if not count:
            return self._add_packet_of(headers, counter, head, field_bytes, body[skipped:])
        first = (headers.first_with_field if field_bytes else headers.first)[counter]
        between = headers.between(counter + 1, count - 1)
        view = memoryview(body)
        if not last:
            self._contents += head, view[skipped:]
            self._headers += first, between
            return counter + count & 15
        cut = end - last
        self._contents += head, view[skipped:cut], _STUFFING[BODY_BYTES - last], view[cut:]
        self._headers += first, between, headers.last_with_field[counter + count & 15]
        return counter + count + 1 & 15

    def _add_packet_of(
        self, headers: PidHeaders, counter: int, head: bytes, field_bytes: int, body: Payload
    ) -> int:
        """A PES packet that does not fill a single packet."""
        room = BODY_BYTES - len(head) - len(body) + field_bytes
        self._contents += _stuffed(head[:field_bytes], room), head[field_bytes:], body
        self._headers.append(headers.first_with_field[counter])
        return counter + 1 & 15

    def serialize(self) -> bytearray:
        return to_packets(b"".join(self._headers), b"".join(self._contents))


def _stuffed(field: bytes, size: int) -> bytes:
    """The adaptation field, or none, filled up to `size` bytes."""
    return bytes((size - 1,)) + field[1:].ljust(size - 1, b"\xff") if field else _STUFFING[size]


def null_packet(body: bytes) -> bytes:
    """A packet that every reader drops; at most 184 bytes fit."""
    return bytes((SYNC, NULL_PID >> 8, NULL_PID & 0xFF, BODY_ONLY)) + body.ljust(BODY_BYTES, b"\xff")


def pcr_field(time: int, *, is_random_access: bool) -> bytes:
    """An adaptation field with a program clock reference, in ticks of 90 kHz."""
    flags = HAS_CLOCK | _RANDOM_ACCESS if is_random_access else HAS_CLOCK
    return _pack_pcr(CLOCK_FIELD_BYTES - 1, flags, time >> 1 & 0xFFFFFFFF, (time & 1) << 15 | 0x7E00)


def clock_packet(pid: int, counter: int, time: int) -> bytes:
    """A packet with nothing but a clock reference: it has the counter of the packet before."""
    head = bytes((SYNC, pid >> 8, pid & 0xFF, ADAPTATION_ONLY | (counter - 1 & 15)))
    return head + _stuffed(pcr_field(time, is_random_access=False), BODY_BYTES)
