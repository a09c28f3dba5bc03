"""Streams made by hand for the tests of FLV, MPEG-TS and Matroska: every payload tells which packet it is.

Pictures are framed as MP4 has them, each with one NAL unit, so that MPEG-TS can hold them, too. What is in a
file is read by libavformat, or for MPEG-TS by a few lines of our own: its parsers want real pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from helpers.appended import without_framing
from helpers.packets import AAC_LC_48K_STEREO, AVCC

from aircheck.media.packet import Packet
from aircheck.media.track import Codec, Track

VIDEO = Track(0, Codec.H264, 1000, AVCC, 320, 180)
AUDIO = Track(1, Codec.AAC, 48000, AAC_LC_48K_STEREO, sample_rate=48000, channels=2)
TRACKS = (VIDEO, AUDIO)

_TEXT_BYTES = 12


def video(ms: int, *, key: bool = False, pts: int | None = None, size: int = 0) -> Packet:
    unit = (b"\x65" if key else b"\x41") + (b"v%8d" % ms).ljust(max(size, _TEXT_BYTES), b".")
    return Packet(VIDEO, ms if pts is None else pts, ms, key, len(unit).to_bytes(4, "big") + unit)


def audio(frame: int, *, size: int = 0) -> Packet:
    return Packet(
        AUDIO, frame * 1024, frame * 1024, True, (b"a%8d" % frame).ljust(max(size, _TEXT_BYTES), b".")
    )


def media(seconds: float, start_ms: int = 0, *, size: int = 0) -> list[Packet]:
    """25 pictures and about 47 audio frames a second, in order of time."""
    end_ms = start_ms + int(seconds * 1000)
    packets = [video(ms, key=ms % 1000 == 0, size=size) for ms in range(start_ms, end_ms, 40)]
    packets += [audio(n, size=size) for n in range(-(-start_ms * 48 // 1024), -(-end_ms * 48 // 1024))]
    return sorted(packets, key=lambda packet: Fraction(packet.dts, packet.track.timescale))


def expected(packets: Sequence[Packet]) -> list[list[bytes]]:
    """The payloads of each track."""
    return [[bytes(packet.data) for packet in packets if packet.track is track] for track in TRACKS]


def payloads(path: Path, *, is_damaged: bool = False) -> list[list[bytes]]:
    """What the file plays, for each track."""
    return _payloads_of_ts(path, is_damaged) if path.suffix == ".ts" else _payloads(path)


def _payloads(path: Path) -> list[list[bytes]]:
    with av.open(str(path)) as container:
        streams: list[list[bytes]] = [[] for _ in container.streams]
        for packet in container.demux():
            if packet.size:
                streams[packet.stream.index].append(bytes(packet))
    return streams


@dataclass(frozen=True, slots=True)
class Stored:
    """A time that is in the file, in ticks of the container: of the `number`-th packet of its track.

    Matroska has no dts; in MPEG-TS, frames that share a PES packet have no times of their own.
    """

    number: int
    pts: int
    dts: int | None


def stored_times(path: Path) -> list[list[Stored]]:
    """For each track."""
    if path.suffix == ".ts":
        return _times_of_ts(path)
    with av.open(str(path)) as container:
        streams: list[list[Stored]] = [[] for _ in container.streams]
        for packet in container.demux():
            if packet.size:
                times = streams[packet.stream.index]
                times.append(Stored(len(times), packet.pts, packet.dts if path.suffix == ".flv" else None))
    return streams


def _times_of_ts(path: Path) -> list[list[Stored]]:
    pictures, sounds = (_units_of_ts(path, pid, is_damaged=False) for pid in (0x100, 0x101))
    times: list[list[Stored]] = [[], []]
    for number, unit in enumerate(pictures):
        pts, dts = _stamp(unit, 9), _stamp(unit, 14) if unit[7] & 0x40 else _stamp(unit, 9)
        times[0].append(Stored(number, pts, dts))
    number = 0
    for unit in sounds:
        times[1].append(Stored(number, _stamp(unit, 9), _stamp(unit, 9)))
        number += len(list(_adts_frames(unit[9 + unit[8] :])))
    return [track for track in times if track]


def _stamp(unit: bytes, at: int) -> int:
    value = int.from_bytes(unit[at : at + 5], "big")
    return (value >> 33 & 7) << 30 | (value >> 17 & 0x7FFF) << 15 | value >> 1 & 0x7FFF


def _payloads_of_ts(path: Path, is_damaged: bool) -> list[list[bytes]]:
    pictures, sounds = (_units_of_ts(path, pid, is_damaged=is_damaged) for pid in (0x100, 0x101))
    return [
        [without_framing(VIDEO, unit[9 + unit[8] :]) for unit in pictures],
        [frame for unit in sounds for frame in _adts_frames(unit[9 + unit[8] :])],
    ]


def _units_of_ts(path: Path, pid: int, *, is_damaged: bool) -> list[bytes]:
    """The PES packets of one PID."""
    data = path.read_bytes()
    units: list[bytearray] = []
    for start in range(0, len(data) - 187, 188):
        packet = data[start : start + 188]
        assert packet[0] == 0x47 or is_damaged
        if packet[0] == 0x47 and (packet[1] & 0x1F) << 8 | packet[2] == pid:
            body = packet[4 + (1 + packet[4] if packet[3] & 0x20 else 0) :]
            if packet[1] & 0x40 or (body and not units):
                units.append(bytearray())
            if body:
                units[-1] += body
    return list(map(bytes, units))


def _adts_frames(data: bytes) -> Iterator[bytes]:
    while data[:2] == b"\xff\xf1":
        size = (data[3] & 3) << 11 | data[4] << 3 | data[5] >> 5
        yield data[7:size]
        data = data[size:]
