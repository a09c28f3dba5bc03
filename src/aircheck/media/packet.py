"""Packet: one encoded access unit or audio frame; Batch: the packets of one read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

from aircheck.media.track import DATA_TRACK, Track

Payload: TypeAlias = bytes | bytearray | memoryview
"""Bytes that nobody changes any more. Whoever holds a packet may keep its payload."""


@dataclass(slots=True)
class Packet:
    """One access unit (video), one frame (audio) or one message (data).

    `pts` and `dts` are ticks of `track.timescale` on the stream's own timeline, unwrapped; `dts` never goes
    back within a track. Video is framed as MP4 stores it: H.264 and H.265 with length prefixes, AV1 as OBUs
    with sizes and without temporal delimiters; AAC without ADTS; Opus, MP3, FLAC one frame a packet.
    """

    track: Track
    pts: int
    dts: int
    is_keyframe: bool
    data: Payload


@dataclass(slots=True)
class Batch:
    """The packets that one read of a publisher's socket yielded, in the order of arrival.

    `arrival_ns` is wall-clock time (ns since the epoch, UTC) of the read. `tracks_changed` is set when an
    audio or video packet in here belongs to a `Track` object that no earlier batch of the stream had,
    `has_data` when there are packets of `DATA_TRACK`.
    """

    packets: list[Packet]
    arrival_ns: int
    size_bytes: int
    tracks_changed: bool = False
    has_video_keyframe: bool = False
    has_data: bool = False

    def without_data(self) -> Batch:
        """The audio and video of it, which may be nothing."""
        packets = [packet for packet in self.packets if packet.track is not DATA_TRACK]
        size_bytes = sum(len(packet.data) for packet in packets)
        return replace(self, packets=packets, size_bytes=size_bytes, has_data=False)
