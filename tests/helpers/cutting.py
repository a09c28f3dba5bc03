"""Recordings to cut from, of a pattern that tells the time, and what a clip of them shows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
from helpers.appended import WRITERS

from aircheck.containers.mp4 import Mp4Writer
from aircheck.containers.test_pattern import EncodedPattern, Pattern, encode_pattern
from aircheck.media.packet import Packet
from aircheck.media.track import Track

SECONDS = 8
GOP_S = 2
RATE = 30
CREATED_NS = 1_795_239_600_000_000_000
CONTAINERS = ("mp4", "mkv", "ts", "flv")


@cache
def pattern() -> EncodedPattern:
    """Eight seconds with a key frame every other second and two B-frames between pictures."""
    return encode_pattern(Pattern(duration_s=SECONDS, width=160, height=96, gop_s=GOP_S))


def stream(at_s: int = 0) -> list[Packet]:
    """The pattern's packets as those of a stream that has been going on for `at_s`."""
    return [
        replace(
            packet,
            pts=packet.pts + at_s * packet.track.timescale,
            dts=packet.dts + at_s * packet.track.timescale,
        )
        for packet in pattern().packets
    ]


def writer_of(path: Path, tracks: Sequence[Track], note: bytes = b"a note") -> Any:
    new: Any = Mp4Writer if path.suffix == ".mp4" else WRITERS[path.suffix[1:]]
    return new(path, tracks, note=note, creation_ns=CREATED_NS)


def record(path: Path, packets: Sequence[Packet], tracks: Sequence[Track] | None = None) -> Path:
    """The packets in a finished file of ours."""
    writer = writer_of(path, tracks or (pattern().video, pattern().audio))
    feed(writer, packets)
    writer.finish()
    writer.finalize(sync=False)
    return path


def feed(writer: Any, packets: Sequence[Packet]) -> None:
    for start in range(0, len(packets), 12):
        writer.write(packets[start : start + 12])


def split(packets: Sequence[Packet], *at_s: int) -> Iterator[list[Packet]]:
    """As rotation does: pictures part at key frames, sound at the instant when these are shown."""
    tracks = {packet.track.id: packet.track for packet in packets}
    video = next(track for track in tracks.values() if track.is_video)
    keys = [packet for packet in packets if packet.track is video and packet.is_keyframe]
    first_s = Fraction(keys[0].pts, video.timescale)
    cuts = [next(key for key in keys if Fraction(key.pts, video.timescale) >= first_s + at) for at in at_s]
    parts: list[list[Packet]] = [[] for _ in range(len(cuts) + 1)]
    for packet in packets:
        number = sum(_is_behind(packet, cut) for cut in cuts)
        parts[number].append(packet)
    yield from parts


def _is_behind(packet: Packet, cut: Packet) -> bool:
    if packet.track is cut.track:
        return packet.dts >= cut.dts
    return Fraction(packet.pts, packet.track.timescale) >= Fraction(cut.pts, cut.track.timescale)


# --- what a file shows --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shown:
    """A decoded picture: when it is shown, and which one it is."""

    time_s: Fraction
    picture: str


def pictures(path: Path) -> list[Shown]:
    """All pictures that a player shows, by libavcodec, with edit lists applied."""
    with av.open(str(path)) as container:
        return [
            Shown(frame.pts * frame.time_base, hashlib.md5(b"".join(map(_rows, frame.planes))).hexdigest())
            for frame in container.decode(video=0)
        ]


def _rows(plane: Any) -> bytes:
    """Without what decoders keep behind the end of each row."""
    data, size = bytes(plane), plane.line_size
    return b"".join(data[start : start + plane.width] for start in range(0, plane.height * size, size))


def payloads(path: Path) -> list[list[bytes]]:
    """The packets of each track."""
    with av.open(str(path)) as container:
        streams: list[list[bytes]] = [[] for _ in container.streams]
        for packet in container.demux():
            if packet.size:
                streams[packet.stream.index].append(bytes(packet))
    return streams
