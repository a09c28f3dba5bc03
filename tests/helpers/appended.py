"""Writers of FLV, MPEG-TS and Matroska by name, and libavformat as the judge of their files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from helpers.mp4_media import Clip, batches, shifted

from aircheck.containers.appending import AppendingWriter
from aircheck.containers.flv import FlvWriter
from aircheck.containers.matroska import MatroskaWriter, WebmWriter
from aircheck.containers.mpegts import TsWriter
from aircheck.media.packet import Packet
from aircheck.media.track import Codec, Track

WRITERS: dict[str, Callable[..., AppendingWriter[Any]]] = {
    "flv": FlvWriter,
    "mkv": MatroskaWriter,
    "webm": WebmWriter,
    "ts": TsWriter,
}

NOTE = b'{"who":"test"}'
CREATED_NS = 1_700_000_000 * 10**9


def open_writer(path: Path, tracks: Sequence[Track], **options: Any) -> AppendingWriter[Any]:
    """A writer for the container that the file's extension names."""
    settings = {"note": NOTE, "creation_ns": CREATED_NS} | options
    return WRITERS[path.suffix[1:]](path, tracks, **settings)


def write_clip(
    path: Path, clip: Clip, *, at_s: int = 0, batch: int = 15, **options: Any
) -> AppendingWriter[Any]:
    """The clip as a stream that has been going on for `at_s`, without the last steps."""
    writer = open_writer(path, clip.tracks, **options)
    for packets in batches(shifted(clip.packets, at_s)):
        writer.write(packets)
    return writer


def record_clip(path: Path, clip: Clip, *, at_s: int = 0, **options: Any) -> AppendingWriter[Any]:
    writer = write_clip(path, clip, at_s=at_s, **options)
    writer.finish()
    writer.finalize(sync=False)
    return writer


@dataclass(frozen=True, slots=True)
class Found:
    """One packet as libavformat reads it; `data` as it was written. Matroska has no decoding times."""

    pts: Fraction
    dts: Fraction | None
    is_keyframe: bool
    data: bytes


def demux(path: Path, tracks: Sequence[Track]) -> list[list[Found]]:
    """All packets of each track."""
    with av.open(str(path)) as container:
        streams: list[list[Found]] = [[] for _ in container.streams]
        assert len(streams) == len(tracks)
        for packet in container.demux():
            if packet.size:
                base, track = packet.time_base, tracks[packet.stream.index]
                dts = None if packet.dts is None else packet.dts * base
                data = bytes(packet) if path.suffix != ".ts" else without_framing(track, bytes(packet))
                found = Found(packet.pts * base, dts, packet.is_keyframe, data)
                streams[packet.stream.index].append(found)
    return streams


def without_framing(track: Track, data: bytes) -> bytes:
    """What MPEG-TS adds taken off again: start codes, delimiters, parameter sets, ADTS headers."""
    match track.codec:
        case Codec.H264:
            return _with_lengths(data, lambda unit: unit[0] & 0x1F in (7, 8, 9))
        case Codec.H265:
            return _with_lengths(data, lambda unit: unit[0] >> 1 in (32, 33, 34, 35))
        case Codec.AAC:
            return data[7:]
        case _:
            return data


def _with_lengths(data: bytes, is_extra: Callable[[bytes], bool]) -> bytes:
    units = [unit for unit in data.split(b"\0\0\0\1") if unit and not is_extra(unit)]
    return b"".join(len(unit).to_bytes(4, "big") + unit for unit in units)


def assert_holds(path: Path, packets: Iterable[Packet], tracks: Sequence[Track], clock_rate: int) -> None:
    """libavformat finds these packets: bytes, key flags and times, moved by one shift for all tracks.

    Times are exact to a tick of the container.
    """
    expected = list(packets)
    shifts: list[Fraction] = []
    has_dts = path.suffix in (".flv", ".ts")
    for track, found in zip(tracks, demux(path, tracks), strict=True):
        written = [packet for packet in expected if packet.track is track]
        assert [packet.data for packet in found] == [bytes(packet.data) for packet in written]
        assert [packet.is_keyframe for packet in found] == [packet.is_keyframe for packet in written]
        for here, there in zip(written, found, strict=True):
            shifts.append(there.pts - Fraction(here.pts, track.timescale))
            if has_dts:
                assert there.dts is not None
                shifts.append(there.dts - Fraction(here.dts, track.timescale))
    assert max(shifts) - min(shifts) <= Fraction(1, clock_rate)
