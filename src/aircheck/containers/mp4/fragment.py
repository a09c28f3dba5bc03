"""Fragments: pending packets of each track become one `moof` and one `mdat`.

This is the hot path: whole columns at C speed, no object per packet, payloads untouched.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from operator import sub

from aircheck.containers.mp4.boxes import HEADER, U32_MAX, big_endian, interleave
from aircheck.containers.mp4.index import Run, TrackHeader, TrackIndex
from aircheck.containers.mp4.movie import OTHER_SAMPLE, SYNC_SAMPLE
from aircheck.media.packet import Packet, Payload
from aircheck.media.track import Codec, Track

_MOOF = struct.Struct(">I4sI4sII")
TRAF = struct.Struct(">I4sI4sIII4sIQI4sIIi")
"""traf, tfhd (track_ID), tfdt (version 1) and trun up to its first sample: always these, in this order."""
TRAF_OF_ENTRY = struct.Struct(">I4sI4sIIII4sIQI4sIIi")
"""The same with sample_description_index in tfhd, where that is not 1."""
TFHD_FLAGS_OFFSET = 16

TFHD_BASE_IS_MOOF = 0x020000
TFHD_ENTRY = 0x000002
TRUN_DATA_OFFSET = 0x001
TRUN_DURATION = 0x100
TRUN_SIZE = 0x200
TRUN_FLAGS = 0x400
TRUN_COMPOSITION = 0x800

_MAX_COMPOSITION = 0x7FFFFFFF
_FRAME_SAMPLES = {Codec.AAC: 1024, Codec.MP3: 1152, Codec.OPUS: 960, Codec.AC3: 1536, Codec.FLAC: 4096}
_DEFAULT_FRAME_RATE = 30


class TrackQueue:
    """One track's packets that are not on disk yet, and the index of those that are."""

    __slots__ = ("entry", "index", "nudged", "pending", "track")

    def __init__(self, track: Track) -> None:
        self.track = track
        self.entry = 0
        """Which one of the index' sample entries the pending packets are encoded by."""
        self.pending: list[Packet] = []
        self.index = TrackIndex(TrackHeader.of(track))
        self.index.last_duration = _usual_duration(track)
        self.nudged = 0
        """Packets whose dts or pts had to be moved to be representable."""

    def take(self, origin_ticks: int, end_dts: int | None = None) -> tuple[Run, list[Payload]]:
        """All pending packets (at least one) as a run, and their payloads.

        `end_dts` is where the last one ends, when that is known; else it is taken to be as short as the
        shortest before it, and the next run corrects it.
        """
        packets, self.pending = self.pending, []
        dts = [packet.dts for packet in packets]
        composition = [packet.pts - packet.dts for packet in packets]
        payloads = [packet.data for packet in packets]
        index = self.index
        floor = index.last_dts if index.sizes else max(origin_ticks, dts[0]) - 1
        deltas = list(map(sub, dts, [floor, *dts]))
        if (
            min(deltas) < 1
            or max(deltas) > U32_MAX
            or min(composition) < 0
            or max(composition) > _MAX_COMPOSITION
        ):
            self.nudged += _repair(packets, dts, composition, floor)
            deltas = list(map(sub, dts, [floor, *dts]))
        del deltas[0]
        if end_dts is not None and end_dts > dts[-1]:
            last_duration = min(end_dts - dts[-1], U32_MAX)
        elif self.track.is_data:
            last_duration = index.last_duration
        else:
            last_duration = min(deltas, default=index.last_duration)
        sizes = array("I", map(len, payloads))
        is_video = index.header.is_video
        run = Run(
            dts[0],
            array("I", deltas),
            last_duration,
            sizes,
            array("I", composition) if any(composition) else None,
            [position for position, packet in enumerate(packets) if packet.is_keyframe] if is_video else (),
            sum(sizes),
            self.entry,
        )
        return run, payloads


def _usual_duration(track: Track) -> int:
    """A frame's duration as long as nothing is known, in the track's timescale; of a message an instant."""
    if track.is_data:
        return 1
    samples = _FRAME_SAMPLES.get(track.codec)
    if samples is None:
        return max(1, track.timescale // _DEFAULT_FRAME_RATE)
    return max(1, samples * track.timescale // (track.sample_rate or track.timescale))


def _repair(packets: Sequence[Packet], dts: list[int], composition: list[int], floor: int) -> int:
    """Make dts strictly increasing and pts never before it, in place; how many packets that took."""
    nudged = 0
    for position, packet in enumerate(packets):
        time = min(max(packet.dts, floor + 1), floor + U32_MAX)
        offset = min(max(packet.pts - time, 0), _MAX_COMPOSITION)
        nudged += time != packet.dts or time + offset != packet.pts
        dts[position], composition[position] = time, offset
        floor = time
    return nudged


def serialize_head(sequence: int, origin_ms: int, runs: Sequence[tuple[TrackHeader, Run]]) -> bytes:
    """`moof` and the header of its `mdat`, which holds the runs' payloads in the order given."""
    columns = [_columns(header, run) for header, run in runs]
    moof_size = 24 + sum(
        (TRAF_OF_ENTRY if run.entry else TRAF).size + 4 * len(rows)
        for (_, run), (_, rows) in zip(runs, columns, strict=True)
    )
    data_offset = moof_size + 8
    parts = [_MOOF.pack(moof_size, b"moof", 16, b"mfhd", 0, sequence)]
    for (header, run), (flags, rows) in zip(runs, columns, strict=True):
        rows_size = 4 * len(rows)
        time = run.first_dts - header.origin_ticks(origin_ms)
        rest = (
            20, b"tfdt", 0x01000000, time,
            20 + rows_size, b"trun", flags, len(run.sizes), data_offset,
        )  # fmt: skip
        if run.entry:
            tfhd = (20, b"tfhd", TFHD_BASE_IS_MOOF | TFHD_ENTRY, header.number, run.entry + 1)
            parts.append(TRAF_OF_ENTRY.pack(TRAF_OF_ENTRY.size + rows_size, b"traf", *tfhd, *rest))
        else:
            tfhd_of_first = (16, b"tfhd", TFHD_BASE_IS_MOOF, header.number)
            parts.append(TRAF.pack(TRAF.size + rows_size, b"traf", *tfhd_of_first, *rest))
        parts.append(big_endian(rows))
        data_offset += run.size_bytes
    parts.append(HEADER.pack(data_offset - moof_size, b"mdat"))
    return b"".join(parts)


def _columns(header: TrackHeader, run: Run) -> tuple[int, array[int]]:
    """Flags and rows of the `trun`. Only video has flags per sample, only reordered tracks composition."""
    durations = run.deltas[:]
    durations.append(run.last_duration)
    flags, columns = TRUN_DATA_OFFSET | TRUN_DURATION | TRUN_SIZE, [durations, run.sizes]
    if header.is_video:
        sample_flags = array("I", [OTHER_SAMPLE]) * len(run.sizes)
        for position in run.sync:
            sample_flags[position] = SYNC_SAMPLE
        flags |= TRUN_FLAGS
        columns.append(sample_flags)
    if run.composition is not None:
        flags |= TRUN_COMPOSITION
        columns.append(run.composition)
    return flags, interleave(columns)


def chunk_offsets(fragment_offset: int, head: bytes, runs: Sequence[tuple[TrackHeader, Run]]) -> list[int]:
    """Where in the file each run's first sample lies."""
    offsets, offset = [], fragment_offset + len(head)
    for _, run in runs:
        offsets.append(offset)
        offset += run.size_bytes
    return offsets
