"""Recorded files against what was published: every packet, once, in order and in time; and a full decode."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.logging
from av.codec.context import Flags2
from helpers.appended import Found, demux
from helpers.mp4_media import Clip
from helpers.packets import batch
from helpers.patience import until
from helpers.recorder_rig import MemoryJournal, Rig

from aircheck.facts import SegmentFacts
from aircheck.media.packet import Batch, Packet
from aircheck.media.track import Codec, Track
from aircheck.recording.recording import Recording

CLOCK_RATES = {"mp4": 90_000, "mkv": 1000, "webm": 1000, "ts": 90_000, "flv": 1000}
"""Ticks per second to which a container's times are exact. MP4 has the tracks' own."""


@dataclass(frozen=True, slots=True)
class Published:
    """A clip as a publisher sends it: packets in order of time, batches as the pump makes them."""

    tracks: tuple[Track, ...]
    batches: tuple[Batch, ...]

    def packets(self, track: Track, batches: int | None = None) -> list[Packet]:
        """Those of a track, in the first so many batches."""
        return [p for one in self.batches[:batches] for p in one.packets if p.track is track]


def time_s(track: Track, ticks: int) -> Fraction:
    return Fraction(ticks, track.timescale)


def publish(clip: Clip, *, at_s: int, now_ns: int, times: int = 1, batch_ms: int = 200) -> Published:
    """The clip, repeated, of a publisher that has been there for `at_s`."""
    length_s = round(max(time_s(packet.track, packet.dts) for packet in clip.packets))
    packets = [
        replace(packet, pts=packet.pts + shift, dts=packet.dts + shift)
        for number in range(times)
        for packet in clip.packets
        for shift in ((at_s + number * length_s) * packet.track.timescale,)
    ]
    packets.sort(key=lambda packet: time_s(packet.track, packet.dts))
    groups: dict[int, list[Packet]] = {}
    for packet in packets:
        groups.setdefault(int(time_s(packet.track, packet.dts) * 1000) // batch_ms, []).append(packet)
    first, known, batches = min(groups), set[int](), list[Batch]()
    for slot, group in groups.items():
        tracks = {packet.track.id for packet in group}
        arrival_ns = now_ns + (slot - first) * batch_ms * 1_000_000
        batches.append(batch(group, changed=not tracks <= known, arrival_ns=arrival_ns))
        known |= tracks
    return Published(clip.tracks, tuple(batches))


# --- what a file plays --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Decoded:
    """Decoded frames of each track, and all that libavformat and libavcodec had to say meanwhile."""

    frames: tuple[int, ...]
    complaints: tuple[str, ...]


def decode(path: Path) -> Decoded:
    """Decode everything; sound with the priming that players leave out."""
    with _listening() as complaints, av.open(str(path)) as container:
        frames = [0] * len(container.streams)
        for stream in container.streams:
            context: Any = stream.codec_context
            context.thread_count = 1
            context.flags2 |= Flags2.skip_manual
        for packet in container.demux():
            try:
                frames[packet.stream.index] += len(packet.decode())
            except av.FFmpegError as error:
                complaints.append((0, "decoder", f"packet at {packet.pts}: {error}"))
    return Decoded(tuple(frames), tuple(f"{name}: {text.strip()}" for _, name, text in complaints))


@contextmanager
def _listening() -> Iterator[list[tuple[int, str, str]]]:
    level = av.logging.get_level()
    av.logging.set_level(av.logging.WARNING)
    try:
        with av.logging.Capture() as messages:
            yield messages
    finally:
        av.logging.set_level(level)


@dataclass(frozen=True, slots=True)
class Played:
    """One track of a recording over all of its files."""

    payloads: list[bytes]
    frames: int


def play(segments: Sequence[SegmentFacts], published: Published) -> tuple[list[Played], list[str]]:
    """All tracks of the files one after another, each packet at its time; and complaints.

    Asserts that the copied packets of each file are moved in time by the same shift, to a tick.
    """
    codecs = [Codec(track.codec) for track in segments[0].tracks]
    tracks = [replace(track, codec=codec) for track, codec in zip(published.tracks, codecs, strict=True)]
    played = [Played([], 0) for _ in tracks]
    complaints: list[str] = []
    for segment in segments:
        decoded = decode(Path(segment.path))
        complaints += decoded.complaints
        found = demux(Path(segment.path), tracks)
        _assert_in_time(segment, found, played, published)
        for number, packets in enumerate(found):
            assert len(packets) == segment.tracks[number].packets
            before = played[number]
            payloads = before.payloads + [packet.data for packet in packets]
            played[number] = Played(payloads, before.frames + decoded.frames[number])
    return played, complaints


def _assert_in_time(
    segment: SegmentFacts, found: list[list[Found]], before: list[Played], published: Published
) -> None:
    shifts = []
    for track, facts, packets, already in zip(published.tracks, segment.tracks, found, before, strict=True):
        assert packets[0].is_keyframe
        if facts.codec == track.codec:
            source = published.packets(track)[len(already.payloads) :]
            for here, there in zip(source, packets, strict=False):
                shifts.append(there.pts - time_s(track, here.pts))
                assert there.is_keyframe == here.is_keyframe
            if track.is_video and segment.index > 1:
                assert segment.start_pts_ms == int(time_s(track, source[0].pts) * 1000)
    if shifts:
        assert max(shifts) - min(shifts) <= Fraction(1, CLOCK_RATES[segment.container])


# --- what a crash leaves ------------------------------------------------------------------------------------


async def at_rest(rig: Rig, recording: Recording) -> None:
    """Wait until what was handed to the disk is there and finished files have their names."""
    await rig.recorder.audio.drain()
    await until(lambda: _is_at_rest(recording))


def _is_at_rest(recording: Recording) -> bool:
    """What is gathered for the next write is in memory still: a crash takes it."""
    growing = {path.stem for path in recording.plan.growing_dir.iterdir()}
    return (
        len(recording.segments) == 1
        and recording.segments[0].writer is not None
        and growing <= {segment.facts.id for segment in recording.segments}
        and all(segment.queued_bytes == segment._gathered_bytes for segment in recording.segments)
    )


def copy_of(rig: Rig, copy: Path) -> MemoryJournal:
    """A copy of the record folder as it is, as a crash would leave it; returns the rows, told of the copy."""
    shutil.copytree(rig.root, copy)
    journal = MemoryJournal()
    journal.recordings |= rig.journal.recordings
    for facts in rig.journal.segment_rows.values():
        moved = facts.path.replace(str(rig.root), str(copy))
        journal.segment_rows[facts.id] = replace(facts, path=moved)
    return journal
