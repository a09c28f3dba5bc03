"""Lanes: the tracks of an appended file; how their times become the container's, what is on disk of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import gcd
from operator import attrgetter, sub
from typing import Generic, TypeAlias, TypeVar

from aircheck.errors import ContainerError
from aircheck.facts import TrackFacts
from aircheck.media.packet import Packet
from aircheck.media.track import Codec, Track

_FRAME_SAMPLES = {Codec.AAC: 1024, Codec.MP3: 1152, Codec.OPUS: 960, Codec.AC3: 1536, Codec.FLAC: 4096}
_NEED_CONFIG = frozenset((Codec.H264, Codec.H265, Codec.AV1, Codec.AAC, Codec.OPUS, Codec.FLAC))
_DEFAULT_FRAME_RATE = 30
_STEPS = 8
"""How many packets tell how long the last one may last, which has no successor yet."""
_GAP_STEPS = 16
"""A step so many times longer than those before is a gap: the packet before it did not last so long."""
BEFORE_EVERYTHING = -(1 << 80)

_dts_of = attrgetter("dts")
_pts_of = attrgetter("pts")
_data_of = attrgetter("data")
_track_of = attrgetter("track")

L = TypeVar("L", bound="Lane")
Group: TypeAlias = tuple[L, list[Packet]]
"""Packets of one lane, at least one."""


def require_config(track: Track) -> None:
    """Raises ContainerError for a track whose decoder cannot do without what is missing."""
    if track.codec in _NEED_CONFIG and not track.config:
        raise ContainerError(
            f"track {track.id} ({track.codec}) has no decoder configuration",
            remedy="begin recording when the publisher has sent its sequence header",
        )


class Lane:
    """One track. A tick of the container is (ticks * num + half) // den - base: rounded, never cumulated."""

    __slots__ = (
        "aliases",
        "base",
        "den",
        "first_pts",
        "half",
        "last_dts",
        "last_duration",
        "max_pts",
        "newest_dts",
        "nudged",
        "num",
        "packets",
        "size_bytes",
        "track",
    )

    def __init__(self, track: Track, clock_rate: int) -> None:
        divisor = gcd(clock_rate, track.timescale)
        self.track = track
        self.aliases = [track]
        """Equal `Track` objects of a publisher that came back; kept, so that their ids stay theirs."""
        self.num = clock_rate // divisor
        self.den = track.timescale // divisor
        self.half = self.den // 2
        self.base = 0
        self.newest_dts = BEFORE_EVERYTHING
        """Of the last packet taken, on disk or not: what follows must be later."""
        self.nudged = 0
        self.packets = 0
        self.size_bytes = 0
        self.first_pts = 0
        self.max_pts = 0
        self.last_dts = 0
        self.last_duration = _usual_duration(track)

    def ticks(self, time: int) -> int:
        """A time of the track in the container's ticks."""
        return (time * self.num + self.half) // self.den - self.base

    def repair(self, dts: int, pts: int) -> tuple[int, int]:
        """A dts that did not grow, or a pts before it: the nearest times that will do, counted."""
        self.nudged += 1
        dts = max(dts, self.newest_dts + 1)
        return dts, max(pts, dts)

    def clamp(self) -> int:
        """A time before the file's time 0 becomes that, counted."""
        self.nudged += 1
        return 0

    def account(self, packets: Sequence[Packet]) -> None:
        """These packets (at least one) are on disk now."""
        latest = max(map(_pts_of, packets))
        dts = list(map(_dts_of, packets[-_STEPS:]))
        shortest = min(map(sub, dts[1:], dts), default=0)
        if self.track.is_data:
            shortest = 0
        if not self.packets:
            self.first_pts, self.max_pts = packets[0].pts, latest
            self.last_duration = shortest if shortest > 0 else self.last_duration
        else:
            self.max_pts = max(self.max_pts, latest)
            if 0 < shortest < _GAP_STEPS * self.last_duration:
                self.last_duration = shortest
        self.packets += len(packets)
        self.size_bytes += sum(map(len, map(_data_of, packets)))
        self.last_dts = dts[-1]

    def resume(
        self, packets: int, size_bytes: int, first_pts: int, max_pts: int, last_dts: int, step: int
    ) -> None:
        """What an earlier writer has put on disk of the track: `step` is how long its last packet lasts.

        Times are the container's ticks, as `ticks` gives them.
        """
        if packets:
            self.packets, self.size_bytes = packets, size_bytes
            self.first_pts, self.max_pts = self.time_of(first_pts), self.time_of(max_pts)
            self.last_dts = self.newest_dts = self.time_of(last_dts)
            self.last_duration = max(1, step * self.den // self.num)

    def time_of(self, ticks: int) -> int:
        """What `ticks` was given, as far as the container knows."""
        return ((ticks + self.base) * self.den - self.half + self.den // 2) // self.num

    def end_at(self, end_dts: int) -> None:
        """The packet that follows elsewhere tells how long the last one lasts."""
        if self.packets and end_dts > self.last_dts:
            self.last_duration = end_dts - self.last_dts

    @property
    def end_pts(self) -> int:
        return self.max_pts + self.last_duration

    def facts(self) -> TrackFacts:
        duration = self.end_pts - self.first_pts if self.packets else 0
        return replace(
            facts_of(self.track),
            packets=self.packets,
            size_bytes=self.size_bytes,
            duration_ms=max(0, duration * 1000 // self.track.timescale),
        )


class Lanes(Generic[L]):
    """The lanes of a file, found by the very `Track` object that a packet has: no hashing in the hot path.

    `all` is replaced, never changed: other threads may go through it.
    """

    __slots__ = ("all", "by_object", "primary")

    def __init__(self) -> None:
        self.all: tuple[L, ...] = ()
        self.by_object: dict[int, L] = {}
        self.primary: L | None = None
        """The track whose key frames are indexed: the first video, else the first sound."""

    def add(self, lane: L) -> None:
        self.all = (*self.all, lane)
        self.by_object[id(lane.track)] = lane
        self.primary = primary_of(self.all)

    def recognize(self, packets: Sequence[Packet]) -> None:
        """See that every packet has a lane. A publisher that came back has new, equal `Track` objects.

        Raises ContainerError for a packet of another track.
        """
        if self.by_object.keys() >= set(map(id, map(_track_of, packets))):
            return
        strangers = {id(p.track): p.track for p in packets if id(p.track) not in self.by_object}
        lanes = {lane.track: lane for lane in self.all}
        for track in strangers.values():
            if track not in lanes:
                raise ContainerError(
                    f"this file has no track {track.id} ({track.codec}) of that configuration",
                    remedy="add the track, or begin a new segment when its configuration changed",
                )
        for number, track in strangers.items():
            lanes[track].aliases.append(track)
            self.by_object[number] = lanes[track]

    def groups(self, packets: Sequence[Packet]) -> list[Group[L]]:
        """The packets of each lane that has any."""
        groups = [(lane, [p for p in packets if p.track is lane.track]) for lane in self.all]
        if sum(len(group) for _, group in groups) != len(packets):
            lanes = self.by_object
            groups = [(lane, [p for p in packets if lanes[id(p.track)] is lane]) for lane in self.all]
        return [pair for pair in groups if pair[1]]


def primary_of(lanes: Sequence[L]) -> L | None:
    """The first video, else the first sound, else the first of all."""
    video = (lane for lane in lanes if lane.track.is_video)
    sound = (lane for lane in lanes if lane.track.is_audio)
    return next(video, None) or next(sound, None) or next(iter(lanes), None)


def facts_of(track: Track) -> TrackFacts:
    """Facts of a track without packets."""
    return TrackFacts(
        id=track.id,
        codec=track.codec.value,
        kind=track.kind.value,
        timescale=track.timescale,
        width=track.width,
        height=track.height,
        sample_rate=track.sample_rate,
        channels=track.channels,
    )


def _usual_duration(track: Track) -> int:
    """A frame's duration as long as nothing is known, in the track's timescale; of a message an instant."""
    if track.is_data:
        return 1
    samples = _FRAME_SAMPLES.get(track.codec)
    if samples is None:
        return max(1, track.timescale // _DEFAULT_FRAME_RATE)
    return max(1, samples * track.timescale // (track.sample_rate or track.timescale))
