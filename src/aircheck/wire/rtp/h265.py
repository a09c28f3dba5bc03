"""H.265 in RTP (RFC 7798): single NAL units, aggregation packets and fragments, without DONs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from aircheck.media.h264 import split_nal_units
from aircheck.media.h265 import NAL_AUD, NAL_VPS, nal_unit_type
from aircheck.wire.rtp.errors import RtpError
from aircheck.wire.rtp.h264 import split_aggregate
from aircheck.wire.rtp.packet import HEAD
from aircheck.wire.rtp.payload import MTU_BYTES

_AGGREGATE, _FRAGMENT = 48, 49
_HEADER_BYTES = 2
_START, _END = 0x80, 0x40
_TYPE_MASK = 0x81
"""All of a NAL unit header's first byte but its type."""

_BEGINNERS = frozenset((NAL_VPS, NAL_AUD))


class H265Depacketizer:
    """`finish` returns NAL units."""

    def __init__(self) -> None:
        self._units: list[bytes] = []
        self._fragments: list[bytes] = []

    def begins_frame(self, packet: bytes, start: int, end: int) -> bool:
        kind = packet[start] >> 1 & 0x3F
        if kind == _AGGREGATE and start + 4 < end:
            kind = packet[start + 4] >> 1 & 0x3F
        return kind in _BEGINNERS

    def push(self, packet: bytes, start: int, end: int) -> None:
        if end - start <= _HEADER_BYTES:
            raise RtpError("an H.265 payload without data", data=packet[start:end])
        kind = packet[start] >> 1 & 0x3F
        if kind == _FRAGMENT:
            self._take_fragment(packet, start, end)
            return
        if self._fragments:
            raise RtpError("a fragmented NAL unit without its end", data=packet[start:end])
        if kind < _AGGREGATE:
            self._units.append(packet[start:end])
        elif kind == _AGGREGATE:
            units = list(split_aggregate(packet, start + _HEADER_BYTES, end))
            if any(len(unit) <= _HEADER_BYTES for unit in units):
                raise RtpError("an aggregated NAL unit without data", data=packet[start:end])
            self._units += units
        else:
            raise RtpError(f"an H.265 payload of type {kind}", data=packet[start:end])

    def _take_fragment(self, packet: bytes, start: int, end: int) -> None:
        if end - start < 4:
            raise RtpError("a fragment of a NAL unit without data", data=packet[start:end])
        head = packet[start + 2]
        if bool(head & _START) == bool(self._fragments):
            raise RtpError("a NAL unit that begins twice, or not at all", data=packet[start:end])
        if head & _START:
            first = packet[start] & _TYPE_MASK | (head & 0x3F) << 1
            self._fragments.append(bytes((first, packet[start + 1])))
        self._fragments.append(packet[start + 3 : end])
        if head & _END:
            self._units.append(b"".join(self._fragments))
            self._fragments = []

    def finish(self) -> list[bytes]:
        units, is_whole = self._units, not self._fragments
        self.reset()
        if not (units and is_whole):
            raise RtpError("an access unit without its last NAL unit")
        return units

    def reset(self) -> None:
        self._units, self._fragments = [], []


class H265Packetizer:
    """Length-prefixed access units; small NAL units that follow each other share a packet."""

    def __init__(self, mtu_bytes: int = MTU_BYTES) -> None:
        self._room = mtu_bytes - HEAD.size

    def packetize(self, frame: bytes, *, is_keyframe: bool) -> list[bytes]:
        units = [bytes(unit) for unit in split_nal_units(frame)]
        return list(self._payloads(unit for unit in units if nal_unit_type(unit) != NAL_AUD))

    def _payloads(self, units: Iterable[bytes]) -> Iterator[bytes]:
        small: list[bytes] = []
        small_bytes = _HEADER_BYTES
        for unit in units:
            if small and small_bytes + 2 + len(unit) > self._room:
                yield _aggregate(small)
                small, small_bytes = [], _HEADER_BYTES
            if len(unit) > self._room:
                yield from self._fragments(unit)
            else:
                small.append(unit)
                small_bytes += 2 + len(unit)
        if small:
            yield _aggregate(small)

    def _fragments(self, unit: bytes) -> Iterator[bytes]:
        room, last = self._room - 3, len(unit)
        head = bytes((unit[0] & _TYPE_MASK | _FRAGMENT << 1, unit[1]))
        for at in range(_HEADER_BYTES, last, room):
            flags = (_START if at == _HEADER_BYTES else 0) | (_END if at + room >= last else 0)
            yield head + bytes((flags | nal_unit_type(unit),)) + unit[at : at + room]


def _aggregate(units: Sequence[bytes]) -> bytes:
    """The header has the lowest layer and temporal ids of the units that it stands for (4.4.2)."""
    if len(units) == 1:
        return units[0]
    lowest = min(((unit[0] & 1) << 8 | unit[1] for unit in units), default=1)
    head = bytes((_AGGREGATE << 1 | lowest >> 8, lowest & 0xFF))
    return head + b"".join(len(unit).to_bytes(2, "big") + unit for unit in units)
