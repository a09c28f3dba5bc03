"""Pictures on their way into PES packets, one in each."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from aircheck.containers.mpegts.framing import picture_framing
from aircheck.containers.mpegts.lanes import (
    DTS,
    HAS_BOTH,
    HAS_PTS,
    MAX_LENGTH,
    PTS_ALONE,
    PTS_BEFORE_DTS,
    TsLane,
)
from aircheck.containers.mpegts.packets import (
    CLOCK_FIELD_BYTES,
    HAS_CLOCK,
    RANDOM_ACCESS_FIELD,
    PacketRun,
    pcr_field,
)
from aircheck.containers.mpegts.program import Program
from aircheck.media.packet import Packet, Payload
from aircheck.media.track import Track


class PictureLane(TsLane):
    __slots__ = ("_framing", "_pack_with_both", "_pack_with_pts")

    def __init__(self, track: Track, index: int) -> None:
        self._framing = framing = picture_framing(track)
        super().__init__(track, index)
        plain = f"{len(framing.plain_head)}s"
        self._pack_with_pts = struct.Struct(">BBIHIHHBBHH" + plain).pack
        self._pack_with_both = struct.Struct(">BBIHIHHBBHHBHH" + plain).pack

    def append(self, run: PacketRun, packets: Sequence[Packet], program: Program, *, has_clock: bool) -> None:
        num, half, den, base = self.num, self.half, self.den, self.base
        is_plain = self._framing.is_plain
        for packet in packets:
            dts, pts, is_key, data = packet.dts, packet.pts, packet.is_keyframe, packet.data
            if dts <= self.newest_dts or pts < dts:
                dts, pts = self.repair(dts, pts)
            self.newest_dts = dts
            dts = (dts * num + half) // den - base
            pts = (pts * num + half) // den - base
            if not has_clock:
                self._append_framed(run, data, dts, pts, RANDOM_ACCESS_FIELD if is_key else b"", is_key)
                continue
            if is_key:
                program.append_tables(run, dts)
            else:
                program.refresh_tables(run, dts)
            clock = program.clock(dts)
            if is_key or not is_plain(data):
                self._append_framed(run, data, dts, pts, pcr_field(clock, is_random_access=is_key), is_key)
            else:
                self._append_plain(run, data, dts, pts, clock)

    def _append_framed(
        self, run: PacketRun, data: Payload, dts: int, pts: int, adaptation: bytes, is_key: bool
    ) -> None:
        self._append_pes(run, self._framing(data, is_key), pts, dts, adaptation)

    def _append_plain(self, run: PacketRun, data: Payload, dts: int, pts: int, clock: int) -> None:
        """Nearly every picture: its only unit goes into the packets as it is, but for its length.

        All that stands before it is packed at once: clock reference, PES header, delimiter, start code.
        """
        framing = self._framing
        skipped, plain_head = framing.nal_length_size, framing.plain_head
        size = len(data) - skipped + len(plain_head)
        if pts == dts:
            head = self._pack_with_pts(
                CLOCK_FIELD_BYTES - 1,
                HAS_CLOCK,
                clock >> 1 & 0xFFFFFFFF,
                (clock & 1) << 15 | 0x7E00,
                self.start_code,
                size + 8 if size + 8 <= MAX_LENGTH else 0,
                HAS_PTS,
                5,
                PTS_ALONE | pts >> 29 & 0xE,
                pts >> 14 & 0xFFFE | 1,
                pts << 1 & 0xFFFE | 1,
                plain_head,
            )
        else:
            head = self._pack_with_both(
                CLOCK_FIELD_BYTES - 1,
                HAS_CLOCK,
                clock >> 1 & 0xFFFFFFFF,
                (clock & 1) << 15 | 0x7E00,
                self.start_code,
                size + 13 if size + 13 <= MAX_LENGTH else 0,
                HAS_BOTH,
                10,
                PTS_BEFORE_DTS | pts >> 29 & 0xE,
                pts >> 14 & 0xFFFE | 1,
                pts << 1 & 0xFFFE | 1,
                DTS | dts >> 29 & 0xE,
                dts >> 14 & 0xFFFE | 1,
                dts << 1 & 0xFFFE | 1,
                plain_head,
            )
        self.counter = run.add_unit(self.headers, self.counter, head, CLOCK_FIELD_BYTES, data, skipped)
