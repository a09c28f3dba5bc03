"""TsWriter: packets to an MPEG transport stream (ISO/IEC 13818-1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

from aircheck.containers.appending import AppendingWriter, Fragment
from aircheck.containers.mpegts.header import CLOCK_RATE, TsHeader, serialize_header
from aircheck.containers.mpegts.lanes import PictureLane, SoundLane, TsLane
from aircheck.containers.mpegts.packets import PAT_PID, PMT_PID, RANDOM_ACCESS_FIELD, pcr_field
from aircheck.containers.mpegts.psi import pat, pmt, section_packet
from aircheck.media.packet import Packet
from aircheck.media.track import Track

LEAD_TICKS = 126_000
"""Where the file's time 0 lies on its clock: earlier sound and decoding times stay positive."""
_DECODER_DELAY_TICKS = 63_000
"""How long before its decoding time a picture has arrived; more than sound lags behind in the file."""
_TABLES_INTERVAL_TICKS = CLOCK_RATE * 9 // 20
_MAX_LEAD_S = Fraction(1, 10)


class TsWriter(AppendingWriter[TsLane]):
    """Writes one MPEG-TS file.

    Time 0 is the first video key frame's pts, as in MP4, and lies 1.4 s after the zero of the file's clock.
    Frames of sound that follow each other share a PES packet, as far as a fragment goes.
    """

    extension = "ts"
    clock_rate = CLOCK_RATE

    def __init__(
        self,
        path: Path,
        tracks: Sequence[Track],
        *,
        note: bytes = b"",
        creation_ns: int,
        reserve_bytes: int = 0,
        fragment_ms: int = 150,
        preallocate_bytes: int = 8 * 1024 * 1024,
    ) -> None:
        """Create `path`.

        `note` is kept in the file for whoever recovers it; there is nothing to reserve room for. Raises
        FileExistsError, any other OSError, or ContainerError for tracks that MPEG-TS cannot hold; then there
        is no file.
        """
        self._tables_time = -CLOCK_RATE
        self._tables_counter = 1
        self._version = 0
        self._before: tuple[int, int, tuple[int, ...]] = (0, 0, ())
        super().__init__(
            path,
            tracks,
            note=note,
            creation_ns=creation_ns,
            fragment_ms=fragment_ms,
            preallocate_bytes=preallocate_bytes,
        )

    def _make_lane(self, track: Track) -> TsLane:
        index = len(self._lanes)
        return PictureLane(track, index) if track.is_video else SoundLane(track, index)

    def _plan_header(self, tracks: Sequence[Track]) -> TsHeader:
        self._first_streams = [lane.entry for lane in self._lanes]
        self._first_pcr_pid = self._primary.pid
        self._pmt = pmt(self._first_streams, self._first_pcr_pid, 0)
        return TsHeader(self._record)

    def _serialize_header(self) -> bytes:
        return serialize_header(self._record, self._first_streams, self._first_pcr_pid)

    def _announce(self, lane: TsLane) -> bool:
        """The next fragment begins with the new table."""
        lanes = [*self._lanes, lane]
        primary = next((one for one in lanes if one.track.is_video), lanes[0])
        self._version = self._version + 1 & 31
        self._pmt = pmt([one.entry for one in lanes], primary.pid, self._version)
        self._tables_time = -CLOCK_RATE
        return True

    def _origin_of(self, groups: Sequence[tuple[TsLane, Sequence[Packet]]]) -> int:
        earliest = min(_seconds(packet) for _, packets in groups for packet in packets)
        first = next(self._keys_of(groups), None)
        if first is None or _seconds(first) - earliest > _MAX_LEAD_S:
            return round(earliest * CLOCK_RATE)
        return round(_seconds(first) * CLOCK_RATE)

    def _keys_of(self, groups: Sequence[tuple[TsLane, Sequence[Packet]]]) -> Iterator[Packet]:
        """The key frames of pictures."""
        return (
            packet
            for lane, packets in groups
            for packet in packets
            if packet.is_keyframe and lane.track.is_video
        )

    @property
    def _base(self) -> int:
        return (self._origin or 0) - LEAD_TICKS

    def _compose(self, packets: Sequence[Packet]) -> Fragment:
        counters = tuple(lane.counter for lane in self._lanes)
        self._before = (self._tables_time, self._tables_counter, counters)
        lanes, parts = self._by_object, list[bytes]()
        for packet in packets:
            lane = lanes[id(packet.track)]
            dts, pts = packet.dts, packet.pts
            if dts <= lane.newest_dts or pts < dts:
                dts, pts = lane.repair(dts, pts)
            lane.newest_dts = dts
            if isinstance(lane, PictureLane):
                self._append_picture(parts, lane, packet, lane.ticks(dts), lane.ticks(pts))
            elif isinstance(lane, SoundLane):
                lane.frames.append(packet.data)
                lane.times.append(pts)
                if len(lane.frames) >= lane.most_waiting:
                    self._append_sound(parts, lane)
        for lane in self._lanes:
            if isinstance(lane, SoundLane):
                self._append_sound(parts, lane)
        data = b"".join(parts)
        return Fragment((data,), len(data), ())

    def _forget(self) -> None:
        self._tables_time, self._tables_counter, counters = self._before
        for lane, counter in zip(self._lanes, counters, strict=True):
            lane.counter = counter

    def _append_tables(self, parts: list[bytes], time: int) -> None:
        counter = self._tables_counter
        parts.append(section_packet(PAT_PID, counter, pat()))
        parts.append(section_packet(PMT_PID, counter, self._pmt))
        self._tables_counter = counter + 1 & 15
        self._tables_time = time

    def _append_picture(
        self, parts: list[bytes], lane: PictureLane, packet: Packet, dts: int, pts: int
    ) -> None:
        is_key, adaptation = packet.is_keyframe, b""
        if lane is self._primary:
            if is_key or not 0 <= dts - self._tables_time < _TABLES_INTERVAL_TICKS:
                self._append_tables(parts, dts)
            adaptation = pcr_field(dts - _DECODER_DELAY_TICKS, is_random_access=is_key)
        elif is_key:
            adaptation = RANDOM_ACCESS_FIELD
        lane.append(parts, packet.data, dts, pts, adaptation, is_key)

    def _append_sound(self, parts: list[bytes], lane: SoundLane) -> None:
        has_clock, adaptation = lane is self._primary, b""
        for pts, frames in lane.groups(has_clock=has_clock):
            if has_clock:
                if not 0 <= pts - self._tables_time < _TABLES_INTERVAL_TICKS:
                    self._append_tables(parts, pts)
                adaptation = pcr_field(pts - _DECODER_DELAY_TICKS, is_random_access=True)
            lane.append(parts, frames, pts, adaptation)


def _seconds(packet: Packet) -> Fraction:
    return Fraction(packet.pts, packet.track.timescale)
