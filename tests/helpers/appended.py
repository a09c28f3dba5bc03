"""Writers of FLV, MPEG-TS and Matroska by name, and libavformat as the judge of their files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from helpers.mp4_media import Clip, Demuxed, batches, demux, shifted

from aircheck.containers.appending import AppendingWriter
from aircheck.containers.flv import FlvWriter
from aircheck.media.packet import Packet
from aircheck.media.track import Track

WRITERS: dict[str, Callable[..., AppendingWriter[Any]]] = {"flv": FlvWriter}

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


def assert_holds(path: Path, packets: Iterable[Packet], tracks: Sequence[Track], clock_rate: int) -> None:
    """libavformat finds these packets: bytes, key flags and times, moved by one shift for all tracks.

    Times are exact to a tick of the container. Returns nothing; asserts.
    """
    expected = list(packets)
    streams = demux(path)
    assert len(streams) == len(tracks)
    shifts: list[Fraction] = []
    for track, found in zip(tracks, streams, strict=True):
        written = [packet for packet in expected if packet.track is track]
        assert [packet.data for packet in found] == [bytes(packet.data) for packet in written]
        assert [packet.is_keyframe for packet in found] == [packet.is_keyframe for packet in written]
        shifts += _shifts(track, written, found)
    assert max(shifts) - min(shifts) <= Fraction(1, clock_rate)


def _shifts(track: Track, written: Sequence[Packet], found: Sequence[Demuxed]) -> list[Fraction]:
    pairs = list(zip(written, found, strict=True))
    pts = [there.pts - Fraction(here.pts, track.timescale) for here, there in pairs]
    if track.is_audio:
        return pts
    return pts + [there.dts - Fraction(here.dts, track.timescale) for here, there in pairs]
