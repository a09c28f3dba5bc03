"""Where one segment ends and the next begins.

Rotation loses nothing: every packet of the stream goes into exactly one segment. A cut is made at a key
frame of the primary video track (a stream of audio alone is cut at any packet); the other tracks follow
when they pass the cut's time, so two segments are open for a moment. A changed decoder configuration and
a late track, where a file cannot take them in, cut in the same way from the track that brought them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC

from aircheck.media.packet import Batch, Packet
from aircheck.media.track import DATA_TRACK, Track
from aircheck.recording.zones import Zone, utc_offset_ns

LAGGARD_MS = 3000
"""A track that has not passed the cut by then is silent: the old segment is closed without it."""

TOLERANCE_MS = 50
"""A key frame this much early still cuts: millisecond clocks round 20 s to 19.999."""

_WRITTEN = re.compile(r"(?P<amount>[1-9][0-9]*)(?P<unit>M?)")
_OFF = ("", "disabled")
_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class RotationRule:
    """When a segment is long enough. `None` means never.

    `is_aligned`: a segment ends when the wall clock passes a multiple of `duration_ms` (each full hour),
    counted from midnight in `zone`. `waits_for_keyframe`: off, a segment may begin with pictures
    that nobody can decode until the next key frame.
    """

    duration_ms: int | None = None
    size_bytes: int | None = None
    is_aligned: bool = False
    zone: Zone = UTC
    waits_for_keyframe: bool = True

    @property
    def is_rotating(self) -> bool:
        return self.duration_ms is not None or self.size_bytes is not None

    def is_due(self, duration_ms: int, size_bytes: int, *, at_key_frames: bool = True) -> bool:
        """`at_key_frames`: the next chance comes a group of pictures later, so a little early is on time."""
        slack_ms = TOLERANCE_MS if at_key_frames else 0
        if self.is_aligned:
            return False
        if self.duration_ms is not None and duration_ms + slack_ms >= self.duration_ms:
            return True
        return self.size_bytes is not None and size_bytes >= self.size_bytes


NEVER = RotationRule()

_LONG_AGO_MS = -(1 << 62)


def parse_rotation(text: str) -> RotationRule:
    """`20` is seconds, `20M` megabytes (of 1,000,000 bytes), empty or `disabled` never. Raises ValueError."""
    if text.strip() in _OFF:
        return NEVER
    match = _WRITTEN.fullmatch(text.strip())
    if match is None:
        raise ValueError(
            f'"{text}" is no rotation; write "20" for seconds, "20M" for megabytes or "disabled"'
        )
    amount = int(match["amount"])
    return (
        RotationRule(size_bytes=amount * _MEGABYTE)
        if match["unit"]
        else RotationRule(duration_ms=amount * 1000)
    )


def format_rotation(rule: RotationRule) -> str:
    """The text that `parse_rotation` reads."""
    if rule.size_bytes is not None:
        return f"{rule.size_bytes // _MEGABYTE}M"
    return "disabled" if rule.duration_ms is None else str(rule.duration_ms // 1000)


def next_boundary_ns(rule: RotationRule, after_ns: int) -> int | None:
    """The wall-clock time at which an aligned segment that began at `after_ns` ends."""
    if not rule.is_aligned or rule.duration_ms is None:
        return None
    step_ns, offset_ns = rule.duration_ms * 1_000_000, utc_offset_ns(rule.zone, after_ns)
    boundary_ns = ((after_ns + offset_ns) // step_ns + 1) * step_ns - offset_ns
    changed_ns = utc_offset_ns(rule.zone, boundary_ns)
    if (boundary_ns + changed_ns) % step_ns == 0:
        return boundary_ns
    # Clocks are put forward or back until then: it is what they show then that counts.
    shifted_ns = boundary_ns + offset_ns - changed_ns
    return shifted_ns if shifted_ns > after_ns else boundary_ns


@dataclass(slots=True)
class Cut:
    """A cut in progress: which tracks have moved to the new segment, and where each left the old one."""

    at_ms: int
    primary_id: int | None
    waiting: set[int]
    """Tracks that still go to the old segment."""
    waits_for_keyframe: bool = True
    ends: dict[int, int] = field(default_factory=dict)
    """Per moved track the dts at which the old segment's last sample ends, in the track's old timescale."""

    def moves(self, packet: Packet) -> bool:
        """Whether this packet is its track's first in the new segment."""
        if packet.track.id == self.primary_id:
            return packet.is_keyframe or not self.waits_for_keyframe
        return pts_ms(packet) >= self.at_ms

    def take(self, packet: Packet, old: Track | None) -> None:
        self.waiting.discard(packet.track.id)
        timescale = packet.track.timescale
        old_timescale = old.timescale if old is not None else timescale
        self.ends[packet.track.id] = packet.dts * old_timescale // timescale

    def is_over(self, now_ms: int) -> bool:
        return not self.waiting or now_ms - self.at_ms > LAGGARD_MS


def pts_ms(packet: Packet) -> int:
    return packet.pts * 1000 // packet.track.timescale


def dts_ms(packet: Packet) -> int:
    return packet.dts * 1000 // packet.track.timescale


def end_ms(batch: Batch) -> int:
    """Where the audio and video of a batch have come to; far in the past without any."""
    if not batch.has_data:
        return dts_ms(batch.packets[-1])
    media = (packet for packet in reversed(batch.packets) if packet.track is not DATA_TRACK)
    return next(map(dts_ms, media), _LONG_AGO_MS)
