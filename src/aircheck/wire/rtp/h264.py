"""H.264 in RTP (RFC 6184): single NAL units, STAP-A and FU-A, which is packetization mode 1."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from aircheck.media.h264 import NAL_AUD, NAL_SPS, split_nal_units
from aircheck.wire.rtp.errors import RtpError
from aircheck.wire.rtp.packet import HEAD
from aircheck.wire.rtp.payload import MTU_BYTES

_STAP_A, _FU_A = 24, 28
_START, _END = 0x80, 0x40
_BEGINNERS = frozenset((NAL_SPS, NAL_AUD))
"""NAL units that stand at the beginning of an access unit (ISO/IEC 14496-10, 7.4.1.2.3)."""


class H264Depacketizer:
    """`finish` returns NAL units."""

    def __init__(self) -> None:
        self._units: list[bytes] = []
        self._fragments: list[bytes] = []
        """Of a NAL unit that is not whole yet, its header first."""

    def begins_frame(self, packet: bytes, start: int, end: int) -> bool:
        kind = packet[start] & 0x1F
        if kind == _STAP_A and start + 3 < end:
            kind = packet[start + 3] & 0x1F
        return kind in _BEGINNERS

    def push(self, packet: bytes, start: int, end: int) -> None:
        kind = packet[start] & 0x1F
        if kind == _FU_A:
            self._take_fragment(packet, start, end)
            return
        if self._fragments:
            raise RtpError("a fragmented NAL unit without its end", data=packet[start:end])
        if 0 < kind < _STAP_A:
            self._units.append(packet[start:end])
        elif kind == _STAP_A:
            self._units += split_aggregate(packet, start + 1, end)
        else:
            raise RtpError(f"an H.264 payload of type {kind}", data=packet[start:end])

    def _take_fragment(self, packet: bytes, start: int, end: int) -> None:
        if end - start < 3:
            raise RtpError("a fragment of a NAL unit without data", data=packet[start:end])
        head = packet[start + 1]
        if bool(head & _START) == bool(self._fragments):
            raise RtpError("a NAL unit that begins twice, or not at all", data=packet[start:end])
        if head & _START:
            self._fragments.append(bytes((packet[start] & 0xE0 | head & 0x1F,)))
        self._fragments.append(packet[start + 2 : end])
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


def split_aggregate(packet: bytes, position: int, end: int) -> Iterator[bytes]:
    """The NAL units between `position` and `end`, each behind its length in two bytes. Raises RtpError."""
    while position < end:
        size = packet[position] << 8 | packet[position + 1] if position + 1 < end else 0
        position += 2
        if not size or position + size > end:
            raise RtpError("an aggregated NAL unit is cut off", data=packet)
        yield packet[position : position + size]
        position += size


class H264Packetizer:
    """Length-prefixed access units; small NAL units that follow each other share a packet."""

    def __init__(self, mtu_bytes: int = MTU_BYTES) -> None:
        self._room = mtu_bytes - HEAD.size

    def packetize(self, frame: bytes, *, is_keyframe: bool) -> list[bytes]:
        units = [bytes(unit) for unit in split_nal_units(frame)]
        return list(self._payloads(unit for unit in units if unit[0] & 0x1F != NAL_AUD))

    def _payloads(self, units: Iterable[bytes]) -> Iterator[bytes]:
        small: list[bytes] = []
        small_bytes = 1
        for unit in units:
            if small and small_bytes + 2 + len(unit) > self._room:
                yield _aggregate(small)
                small, small_bytes = [], 1
            if len(unit) > self._room:
                yield from self._fragments(unit)
            else:
                small.append(unit)
                small_bytes += 2 + len(unit)
        if small:
            yield _aggregate(small)

    def _fragments(self, unit: bytes) -> Iterator[bytes]:
        room, last = self._room - 2, len(unit)
        indicator = unit[0] & 0xE0 | _FU_A
        for at in range(1, last, room):
            flags = (_START if at == 1 else 0) | (_END if at + room >= last else 0)
            yield bytes((indicator, flags | unit[0] & 0x1F)) + unit[at : at + room]


def _aggregate(units: Sequence[bytes]) -> bytes:
    if len(units) == 1:
        return units[0]
    importance = max(unit[0] & 0x60 for unit in units)
    return bytes((importance | _STAP_A,)) + b"".join(len(unit).to_bytes(2, "big") + unit for unit in units)
