"""Tracks on their way into PES packets (ISO/IEC 13818-1, 2.4.3.6)."""

from __future__ import annotations

import struct
from abc import abstractmethod
from collections.abc import Sequence

from aircheck.containers.lane import Lane
from aircheck.containers.mpegts.framing import stream_entry, stream_id
from aircheck.containers.mpegts.header import CLOCK_RATE
from aircheck.containers.mpegts.id3 import build_tag
from aircheck.containers.mpegts.packets import PacketRun, headers_of
from aircheck.containers.mpegts.program import Program
from aircheck.media.packet import Packet, Payload
from aircheck.media.track import Track

MAX_LENGTH = 0xFFFF
HAS_PTS, HAS_BOTH = 0x8480, 0x84C0
"""Flags of a PES header: data begins with an access unit; which times follow."""
PTS_ALONE, PTS_BEFORE_DTS, DTS = 0x21, 0x31, 0x11
"""The first byte of a time stamp: its prefix, and a marker bit as there is behind each of its parts."""

_MAX_PIECE = 60_000
"""Of a data message in one PES packet."""
_pack_with_pts = struct.Struct(">IHHBBHH").pack
_pack_with_both = struct.Struct(">IHHBBHHBHH").pack


class TsLane(Lane):
    """A track and its PID."""

    __slots__ = ("counter", "entry", "headers", "pid", "start_code")

    def __init__(self, track: Track, index: int) -> None:
        super().__init__(track, CLOCK_RATE)
        self.entry = stream_entry(track, index)
        self.pid = self.entry.pid
        self.headers = headers_of(self.pid)
        self.start_code = 1 << 8 | stream_id(track, index)
        self.counter = 0

    @abstractmethod
    def append(self, run: PacketRun, packets: Sequence[Packet], program: Program, *, has_clock: bool) -> None:
        """Packets of the track; with `has_clock` it is the one that tells the program's time."""

    def _append_pes(
        self, run: PacketRun, units: list[Payload], pts: int, dts: int, adaptation: bytes
    ) -> None:
        body = b"".join(units)
        head = adaptation + self._head(len(body), pts, dts)
        self.counter = run.add_unit(self.headers, self.counter, head, len(adaptation), body)

    def _head(self, size: int, pts: int, dts: int) -> bytes:
        """The header of a PES packet with so many bytes behind it. Of 33 bits of a time, 3, 15 and 15."""
        if pts == dts:
            return _pack_with_pts(
                self.start_code,
                size + 8 if size + 8 <= MAX_LENGTH else 0,
                HAS_PTS,
                5,
                PTS_ALONE | pts >> 29 & 0xE,
                pts >> 14 & 0xFFFE | 1,
                pts << 1 & 0xFFFE | 1,
            )
        return _pack_with_both(
            self.start_code,
            size + 13 if size + 13 <= MAX_LENGTH else 0,  # a long picture ends where the next one begins
            HAS_BOTH,
            10,
            PTS_BEFORE_DTS | pts >> 29 & 0xE,
            pts >> 14 & 0xFFFE | 1,
            pts << 1 & 0xFFFE | 1,
            DTS | dts >> 29 & 0xE,
            dts >> 14 & 0xFFFE | 1,
            dts << 1 & 0xFFFE | 1,
        )


class DataLane(TsLane):
    """Data messages, each a tag of ID3."""

    __slots__ = ()

    def append(self, run: PacketRun, packets: Sequence[Packet], program: Program, *, has_clock: bool) -> None:
        for packet in packets:
            dts, pts = packet.dts, packet.pts
            if dts <= self.newest_dts or pts < dts:
                dts, pts = self.repair(dts, pts)
            self.newest_dts = dts
            time = self.ticks(pts)
            program.tell_tables(run, time)
            self._append_message(run, packet.data, time)

    def _append_message(self, run: PacketRun, message: Payload, pts: int) -> None:
        """At a time in ticks of the container; a long one takes several PES packets."""
        tag = build_tag(message)
        self._append_pes(run, [tag[:_MAX_PIECE]], pts, pts, b"")
        for start in range(_MAX_PIECE, len(tag), _MAX_PIECE):
            piece = tag[start : start + _MAX_PIECE]
            # Neither a time nor the beginning of something: it goes on with what came before.
            header = struct.pack(">IHBBB", self.start_code, len(piece) + 3, 0x80, 0, 0)
            self.counter = run.add_unit(self.headers, self.counter, header, 0, piece)
