"""TsWriter: packets to an MPEG transport stream (ISO/IEC 13818-1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from aircheck.containers.appending import AppendingWriter, Fragment
from aircheck.containers.existing import CannotAppend, Existing
from aircheck.containers.lane import primary_of
from aircheck.containers.mpegts.header import CLOCK_RATE, TsHeader, serialize_header
from aircheck.containers.mpegts.lanes import DataLane, PictureLane, SoundLane, TsLane
from aircheck.containers.mpegts.packets import (
    LEAD_TICKS,
    NULL_PID,
    PAT_PID,
    PMT_PID,
    RANDOM_ACCESS_FIELD,
    PacketRun,
    clock_packet,
    pcr_field,
)
from aircheck.containers.mpegts.psi import pat, pmt, section_of, section_packet, section_version
from aircheck.containers.mpegts.scan import TsScan
from aircheck.media.packet import Packet, Payload
from aircheck.media.track import Track

_DECODER_DELAY_TICKS = 63_000
"""How long before its decoding time a picture has arrived; more than sound lags behind in the file."""
_TABLES_INTERVAL_TICKS = CLOCK_RATE * 9 // 20
_SILENCE_TICKS = _DECODER_DELAY_TICKS + CLOCK_RATE // 2
_NEVER = -(1 << 80)
_UNTOLD = -CLOCK_RATE
"""The time of tables that have still to be written."""
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
        existing: Existing | None = None,
    ) -> None:
        """Create `path`.

        `note` is kept in the file for whoever recovers it; there is nothing to reserve room for. Raises
        FileExistsError, any other OSError, or ContainerError for tracks that MPEG-TS cannot hold; then there
        is no file.
        """
        self._place = _Place(_UNTOLD, 1, _NEVER)
        self._before = (self._place, tuple[int, ...]())
        self._version = 0
        super().__init__(
            path,
            tracks,
            note=note,
            creation_ns=creation_ns,
            fragment_ms=fragment_ms,
            preallocate_bytes=preallocate_bytes,
            existing=existing,
        )

    def _make_lane(self, track: Track) -> TsLane:
        index = len(self._lanes.all)
        if track.is_data:
            return DataLane(track, index)
        return PictureLane(track, index) if track.is_video else SoundLane(track, index)

    def _plan_header(self, tracks: Sequence[Track]) -> TsHeader:
        self._first_pmt = self._pmt = _serialize_pmt(self._lanes.all, 0)
        return TsHeader(self._record)

    def _resume(self, existing: Existing) -> None:
        super()._resume(existing)
        scan = existing.scan
        assert isinstance(scan, TsScan)
        table = section_of(scan.last_units.get(PMT_PID, b""))
        self._version = section_version(table)
        self._pmt = _serialize_pmt(self._lanes.all, self._version)
        if not table.startswith(self._pmt):
            raise CannotAppend("its tracks are described in another way")
        self._place = replace(self._place, tables_counter=scan.next_counter(PAT_PID, 1))
        for lane in self._lanes.all:
            lane.counter = scan.next_counter(lane.pid, 0)

    def _serialize_header(self) -> bytes:
        return serialize_header(self._record, self._first_pmt)

    def _announce(self, lane: TsLane) -> bool:
        """The next fragment begins with the new table."""
        self._version = self._version + 1 & 31
        self._pmt = _serialize_pmt((*self._lanes.all, lane), self._version)
        self._place = replace(self._place, tables_time=_UNTOLD)
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
        self._before = (replace(self._place), tuple(lane.counter for lane in self._lanes.all))
        lanes, run = self._lanes.by_object, PacketRun()
        for packet in packets:
            lane = lanes[id(packet.track)]
            dts, pts = packet.dts, packet.pts
            if dts <= lane.newest_dts or pts < dts:
                dts, pts = lane.repair(dts, pts)
            lane.newest_dts = dts
            if isinstance(lane, PictureLane):
                self._append_picture(run, lane, packet, lane.ticks(dts), lane.ticks(pts))
            elif isinstance(lane, SoundLane):
                lane.frames.append(packet.data)
                lane.times.append(pts)
                if len(lane.frames) >= lane.most_waiting:
                    self._append_sound(run, lane)
            elif isinstance(lane, DataLane):
                self._append_data(run, lane, packet.data, lane.ticks(pts))
        for lane in self._lanes.all:
            if isinstance(lane, SoundLane):
                self._append_sound(run, lane)
        data = run.serialize()
        return Fragment((data,), len(data), ())

    def _forget(self) -> None:
        self._place, counters = self._before
        for lane, counter in zip(self._lanes.all, counters, strict=True):
            lane.counter = counter
            if isinstance(lane, SoundLane):
                lane.forget()

    def _append_picture(self, run: PacketRun, lane: PictureLane, packet: Packet, dts: int, pts: int) -> None:
        is_key, adaptation = packet.is_keyframe, b""
        if lane is self._lanes.primary:
            self._append_tables(run, dts, at_once=is_key)
            adaptation = pcr_field(self._place.clock(dts), is_random_access=is_key)
        elif is_key:
            adaptation = RANDOM_ACCESS_FIELD
        lane.append(run, packet.data, dts, pts, adaptation, is_key)

    def _append_sound(self, run: PacketRun, lane: SoundLane) -> None:
        primary, adaptation = self._lanes.primary, b""
        for pts, frames in lane.groups(has_clock=lane is primary):
            if lane is primary:
                self._append_tables(run, pts)
                adaptation = pcr_field(self._place.clock(pts), is_random_access=True)
            elif primary is not None and pts - self._place.reference > _SILENCE_TICKS:
                # No pictures come: their track still has to tell the time.
                self._append_tables(run, pts)
                run.add_packet(clock_packet(primary.pid, primary.counter, self._place.clock(pts)))
            lane.append(run, frames, pts, adaptation)

    def _append_data(self, run: PacketRun, lane: DataLane, message: Payload, pts: int) -> None:
        if self._place.tables_time == _UNTOLD:
            self._append_tables(run, pts)  # nobody knows of the track yet
        lane.append(run, message, pts)

    def _append_tables(self, run: PacketRun, time: int, *, at_once: bool = False) -> None:
        place = self._place
        if at_once or not 0 <= time - place.tables_time < _TABLES_INTERVAL_TICKS:
            run.add_packet(section_packet(PAT_PID, place.tables_counter, pat()))
            run.add_packet(section_packet(PMT_PID, place.tables_counter, self._pmt))
            place.tables_counter = place.tables_counter + 1 & 15
            place.tables_time = time


@dataclass(slots=True)
class _Place:
    """How far the file has come: what a fragment that is not written must not have changed."""

    tables_time: int
    tables_counter: int
    reference: int
    """The last clock reference."""

    def clock(self, time: int) -> int:
        """A clock reference for what is due at `time`: never back, unless that would make it late."""
        reference = time - _DECODER_DELAY_TICKS
        if reference <= self.reference < time:
            reference = self.reference + 1
        self.reference = reference
        return reference


def _serialize_pmt(lanes: Sequence[TsLane], version: int) -> bytes:
    primary = primary_of(lanes)
    return pmt([lane.entry for lane in lanes], primary.pid if primary is not None else NULL_PID, version)


def _seconds(packet: Packet) -> Fraction:
    return Fraction(packet.pts, packet.track.timescale)
