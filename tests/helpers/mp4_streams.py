"""Streams made by hand for the MP4 tests: every payload tells which packet it is."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from helpers.packets import AAC_LC_48K_STEREO, AVCC

from aircheck.containers.mp4 import Mp4Writer
from aircheck.media.packet import Packet
from aircheck.media.track import Codec, Track

VIDEO = Track(0, Codec.H264, 1000, AVCC, 320, 180)
AUDIO = Track(1, Codec.AAC, 48000, AAC_LC_48K_STEREO, sample_rate=48000, channels=2)
NOTE = b'{"who":"test"}'
CREATED_NS = 1_700_000_000 * 10**9


def video(ms: int, *, key: bool = False, pts: int | None = None) -> Packet:
    return Packet(VIDEO, ms if pts is None else pts, ms, key, b"v%6d" % ms)


def audio(frame: int) -> Packet:
    return Packet(AUDIO, frame * 1024, frame * 1024, True, b"a%6d" % frame)


def media(seconds: float, start_ms: int = 0) -> list[Packet]:
    """25 pictures and about 47 audio frames a second, in order of time."""
    packets = [video(ms, key=ms % 1000 == 0) for ms in range(start_ms, start_ms + int(seconds * 1000), 40)]
    first = -(-start_ms * 48 // 1024)
    end = -(-int(start_ms + seconds * 1000) * 48 // 1024)
    packets += [audio(frame) for frame in range(first, end)]
    return sorted(packets, key=lambda packet: Fraction(packet.dts, packet.track.timescale))


def open_writer(
    path: Path,
    *,
    tracks: Sequence[Track] = (VIDEO, AUDIO),
    reserve_bytes: int = 65536,
    init_bytes: int = 0,
    note: bytes = NOTE,
) -> Mp4Writer:
    return Mp4Writer(
        path, tracks, note=note, creation_ns=CREATED_NS, reserve_bytes=reserve_bytes, init_bytes=init_bytes
    )
