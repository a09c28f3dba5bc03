"""TsWriter: packets to an MPEG transport stream (ISO/IEC 13818-1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

from aircheck.containers.appending import AppendingWriter, Fragment
from aircheck.containers.existing import CannotAppend, Existing
from aircheck.containers.lane import Group, primary_of
from aircheck.containers.mpegts.header import CLOCK_RATE, TsHeader, serialize_header
from aircheck.containers.mpegts.lanes import DataLane, TsLane
from aircheck.containers.mpegts.packets import (
    LEAD_TICKS,
    NULL_PID,
    PAT_PID,
    PMT_PID,
    PacketRun,
    clock_packet,
)
from aircheck.containers.mpegts.pictures import PictureLane
from aircheck.containers.mpegts.program import DECODER_DELAY_TICKS, Program
from aircheck.containers.mpegts.psi import pmt, section_of, section_version
from aircheck.containers.mpegts.scan import TsScan
from aircheck.containers.mpegts.sound import SoundLane
from aircheck.media.packet import Packet
from aircheck.media.track import Track

_SILENCE_TICKS = DECODER_DELAY_TICKS + CLOCK_RATE // 2
_TOGETHER_TICKS = CLOCK_RATE * 9 // 20
"""Within so much time the tracks lie one behind the other: well less than the time that a decoder waits."""
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
        self._program = Program(b"")
        self._before = (self._program, tuple[int, ...]())
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
        self._first_pmt = self._program.pmt = _serialize_pmt(self._lanes.all, 0)
        return TsHeader(self._record)

    def _resume(self, existing: Existing) -> None:
        super()._resume(existing)
        scan = existing.scan
        assert isinstance(scan, TsScan)
        table = section_of(scan.last_units.get(PMT_PID, b""))
        self._version = section_version(table)
        own = _serialize_pmt(self._lanes.all, self._version)
        if not table.startswith(own):
            raise CannotAppend("its tracks are described in another way")
        self._program = Program(own, tables_counter=scan.next_counter(PAT_PID, 1))
        for lane in self._lanes.all:
            lane.counter = scan.next_counter(lane.pid, 0)

    def _serialize_header(self) -> bytes:
        return serialize_header(self._record, self._first_pmt)

    def _announce(self, lane: TsLane) -> bool:
        """The next fragment begins with the new table."""
        self._version = self._version + 1 & 31
        self._program.change_tracks(_serialize_pmt((*self._lanes.all, lane), self._version))
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

    def _compose(self, packets: Sequence[Packet], groups: Sequence[Group[TsLane]]) -> Fragment:
        self._before = (self._program.copy(), tuple([lane.counter for lane in self._lanes.all]))
        run = PacketRun()
        if self._span_ticks(groups) <= _TOGETHER_TICKS:
            self._append_groups(run, groups)
        else:
            for batch in self._batches(packets):
                self._append_groups(run, self._lanes.groups(batch))
        data = run.serialize()
        return Fragment((data,), len(data), ())

    def _forget(self) -> None:
        self._program, counters = self._before
        for lane, counter in zip(self._lanes.all, counters, strict=True):
            lane.counter = counter

    def _span_ticks(self, groups: Sequence[Group[TsLane]]) -> int:
        times = [lane.ticks(packet.dts) for lane, group in groups for packet in (group[0], group[-1])]
        return max(times) - min(times)

    def _batches(self, packets: Sequence[Packet]) -> Iterator[list[Packet]]:
        """Packets that may lie track by track."""
        batch: list[Packet] = []
        begin = 0
        for packet in packets:
            time = self._lanes.by_object[id(packet.track)].ticks(packet.dts)
            if batch and abs(time - begin) > _TOGETHER_TICKS:
                yield batch
                batch = []
            if not batch:
                begin = time
            batch.append(packet)
        yield batch

    def _append_groups(self, run: PacketRun, groups: Sequence[Group[TsLane]]) -> None:
        """The track that tells the time goes first."""
        primary, program = self._lanes.primary, self._program
        for lane, packets in groups:
            if lane is primary:
                lane.append(run, packets, program, has_clock=True)
        for lane, packets in groups:
            if lane is not primary:
                if primary is not None and lane.track.is_audio:
                    self._break_silence(run, primary, lane.ticks(packets[0].pts))
                lane.append(run, packets, program, has_clock=False)

    def _break_silence(self, run: PacketRun, primary: TsLane, time: int) -> None:
        """When no pictures come, their track still has to tell the time."""
        program = self._program
        if time - program.reference > _SILENCE_TICKS:
            program.refresh_tables(run, time)
            run.add_packet(clock_packet(primary.pid, primary.counter, program.clock(time)))


def _serialize_pmt(lanes: Sequence[TsLane], version: int) -> bytes:
    primary = primary_of(lanes)
    return pmt([lane.entry for lane in lanes], primary.pid if primary is not None else NULL_PID, version)


def _seconds(packet: Packet) -> Fraction:
    return Fraction(packet.pts, packet.track.timescale)
