"""Sound on its way into PES packets: frames that follow each other share one."""

from __future__ import annotations

from collections.abc import Sequence

from aircheck.containers.mpegts.framing import frame_samples, sound_framing
from aircheck.containers.mpegts.header import CLOCK_RATE
from aircheck.containers.mpegts.lanes import TsLane
from aircheck.containers.mpegts.packets import PacketRun, pcr_field
from aircheck.containers.mpegts.program import Program
from aircheck.media.packet import Packet, Payload
from aircheck.media.track import Codec, Track

_GROUP_TICKS = CLOCK_RATE * 9 // 20
_GROUP_TICKS_WITH_CLOCK = CLOCK_RATE * 9 // 100
"""Clock references may be 100 ms apart (2.7.2)."""
_GROUP_MAX_BYTES = 48_000


class SoundLane(TsLane):
    __slots__ = ("_fixed_step", "_framing")

    def __init__(self, track: Track, index: int) -> None:
        self._framing = sound_framing(track)
        super().__init__(track, index)
        self._fixed_step = self._step(b"") if track.codec in (Codec.AAC, Codec.AC3) else None

    def append(self, run: PacketRun, packets: Sequence[Packet], program: Program, *, has_clock: bool) -> None:
        times, frames = self._times(packets), [packet.data for packet in packets]
        start = 0
        while start < len(frames):
            count = self._count_together(frames, times, start, has_clock)
            pts, adaptation = self.ticks(times[start]), b""
            if has_clock:
                program.refresh_tables(run, pts)
                adaptation = pcr_field(program.clock(pts), is_random_access=True)
            self._append_pes(run, self._framing(frames[start : start + count]), pts, pts, adaptation)
            start += count

    def _times(self, packets: Sequence[Packet]) -> list[int]:
        """The pts of each, in the track's ticks."""
        times = [packet.pts for packet in packets]
        newest = self.newest_dts
        for place, packet in enumerate(packets):
            dts = packet.dts
            if dts <= newest or times[place] < dts:
                self.newest_dts = newest
                dts, times[place] = self.repair(dts, times[place])
            newest = dts
        self.newest_dts = newest
        return times

    def _count_together(self, frames: list[Payload], times: list[int], start: int, has_clock: bool) -> int:
        """How many frames from `start` on lie where readers will place them."""
        step = self._fixed_step if self._fixed_step is not None else self._step(frames[start])
        if not step:
            return 1
        most_ticks = _GROUP_TICKS_WITH_CLOCK if has_clock else _GROUP_TICKS
        most = max(1, most_ticks * self.den // (step * self.num))
        rest = times[start : start + most]
        expected = list(range(rest[0], rest[0] + step * len(rest), step))
        count = len(rest)
        if rest != expected:
            count = next(n for n, (time, due) in enumerate(zip(rest, expected, strict=True)) if time != due)
        while count > 1 and sum(map(len, frames[start : start + count])) > _GROUP_MAX_BYTES:
            count //= 2
        return count

    def _step(self, frame: Payload) -> int:
        """How far apart readers place frames like this one, in the track's ticks; 0: not a whole number."""
        track = self.track
        rate = track.timescale if track.codec is Codec.AAC else track.sample_rate
        ticks, rest = divmod(frame_samples(track, frame) * track.timescale, rate or 1)
        return 0 if rest else ticks
