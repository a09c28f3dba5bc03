"""Time on a stream: clocks that wrap, timestamps that jump, audio frames on their grid.

**One offset for the whole stream.** A publisher's timestamps become positions on the stream's own timeline by
adding an offset, and audio and video always use the same one, so that they stay in step whatever happens:

- A clock of 32 bits that wraps goes on beyond its end.
- A timestamp more than `BACKWARD_JUMP_MS` before its track's last is a *backward jump*: the encoder began
  anew. The new timeline is re-based to go on right after the latest packet of any track. The first track that
  jumps decides the offset; the others adopt it when they jump themselves, which may be some packets later.
- A timestamp more than `FORWARD_JUMP_MS` after its track's last is a *forward jump*: media is missing. It is
  kept as it is, for that time really passed, and told as a gap.
- A timestamp that is only a little early is put one tick after its predecessor: files want times that grow.
- A track that appears later belongs where its timestamp says; when that is more than `FORWARD_JUMP_MS` away
  from the others, its clock is not theirs and it is re-based likewise.

Nothing of this is silent: every jump is reported as a `Jump`, every other correction is counted.

**Audio has a grid.** RTMP rounds timestamps to milliseconds, but a track's frames follow each other without a
gap: each begins where its predecessor ends, as long as the timestamp agrees to within `GRID_TOLERANCE_MS` (or
half a frame). Beyond that the timestamp is believed: the clock drifted, or frames are missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

BACKWARD_JUMP_MS = 1_000
"""Encoders that send presentation times go back some 100 ms at B-frames; those that restart, further."""

FORWARD_JUMP_MS = 10_000
GRID_TOLERANCE_MS = 10

REBASE_STEP_MS = 20
"""Distance from the end of the old timeline to the first packet of the new one."""

NEVER = -(1 << 62)
"""So long ago that whatever follows it is a jump: spares hot paths the question of the first packet."""


def rescale(ticks: int, from_timescale: int, to_timescale: int) -> int:
    """Ticks of one timescale in those of another, to the nearest, halves up."""
    return (2 * ticks * to_timescale + from_timescale) // (2 * from_timescale)


class Unwrapper:
    """Counts a wrapping clock on beyond its end: each value is taken as near to its predecessor as can be."""

    __slots__ = ("_last", "_mask", "_sign")

    def __init__(self, bits: int = 32) -> None:
        self._mask = (1 << bits) - 1
        self._sign = 1 << (bits - 1)
        self._last: int | None = None

    def unwrap(self, value: int) -> int:
        """The value on an endless clock that starts at the first value seen."""
        last = value if self._last is None else self._last
        self._last = last + nearest(value - last, self._mask, self._sign)
        return self._last


def nearest(difference: int, mask: int = 0xFFFFFFFF, sign: int = 0x80000000) -> int:
    """The difference of two readings of a wrapping clock, as the smaller step in either direction."""
    return ((difference + sign) & mask) - sign


@dataclass(frozen=True, slots=True)
class Jump:
    """A timestamp that does not follow its predecessor. Times are milliseconds.

    `timestamp` is what the publisher sent; `from_ms` and `to_ms` are where its track was and would have gone
    on the stream's timeline; `placed_ms` is where the packet was put, in a gap the same as `to_ms`.
    """

    timestamp: int
    from_ms: int
    to_ms: int
    placed_ms: int

    @property
    def is_gap(self) -> bool:
        return self.placed_ms == self.to_ms


class Timeline:
    """The time of one stream. Each track has a `TrackClock` on it."""

    def __init__(self, on_jump: Callable[[Jump], None]) -> None:
        self.on_jump = on_jump
        self.offset_ms = 0
        """Timestamp plus offset is the place on the timeline; each backward jump makes a new offset."""
        self._clocks: list[TrackClock] = []

    def new_clock(self) -> TrackClock:
        clock = TrackClock(self)
        self._clocks.append(clock)
        return clock

    def end_ms(self) -> int | None:
        """The latest packet of any track; None before the first."""
        return max((clock.last_ms for clock in self._clocks if clock.last_ms != NEVER), default=None)


class TrackClock:
    """Places the timestamps of one track.

    A hot path may do the usual case by itself: when `timestamp + offset_ms` is later than `last_ms`, by less
    than FORWARD_JUMP_MS, that sum is the place and the new `last_ms`. Anything else is for `place`.
    """

    __slots__ = ("_timeline", "bumps", "last_ms", "offset_ms")

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self.offset_ms = timeline.offset_ms
        self.last_ms = NEVER
        self.bumps = 0
        """Packets that were put one tick after their predecessor."""

    def place(self, timestamp: int) -> int:
        """The place of a timestamp, in milliseconds: always behind the track's previous packet."""
        last, placed = self.last_ms, timestamp + self.offset_ms
        if 0 < placed - last < FORWARD_JUMP_MS:
            self.last_ms = placed
            return placed
        if last == NEVER:
            return self._begin(timestamp)
        step = self._step(timestamp, last)
        if step < -BACKWARD_JUMP_MS:
            return self._rebase(timestamp, last, last + step)
        if step <= 0:
            self.bumps += 1
            self.last_ms = last + 1
            return last + 1
        if step > FORWARD_JUMP_MS:
            self._timeline.on_jump(Jump(timestamp, last, last + step, last + step))
        return self._settle(timestamp, last + step)

    def _begin(self, timestamp: int) -> int:
        """The first packet of a track: its clock should be the one of the other tracks."""
        self.offset_ms = self._timeline.offset_ms
        end = self._timeline.end_ms()
        if end is None:
            return self._settle(timestamp, timestamp)
        step = nearest(timestamp + self.offset_ms - end)
        if abs(step) > FORWARD_JUMP_MS:
            return self._rebase(timestamp, end, end + step)
        return self._settle(timestamp, end + step)

    def _step(self, timestamp: int, last: int) -> int:
        """How far the timestamp lies behind the last packet. Where another track has jumped before, its new
        offset is adopted if that makes this track go on smoothly."""
        step = nearest(timestamp + self.offset_ms - last)
        if _is_near(step):
            return step
        adopted = nearest(timestamp + self._timeline.offset_ms - last)
        return adopted if _is_near(adopted) else step

    def _rebase(self, timestamp: int, from_ms: int, to_ms: int) -> int:
        placed = (self._timeline.end_ms() or 0) + REBASE_STEP_MS
        self._timeline.offset_ms = placed - timestamp
        self._timeline.on_jump(Jump(timestamp, from_ms, to_ms, placed))
        return self._settle(timestamp, placed)

    def _settle(self, timestamp: int, placed: int) -> int:
        self.offset_ms = placed - timestamp
        self.last_ms = placed
        return placed


def _is_near(step_ms: int) -> bool:
    return -BACKWARD_JUMP_MS <= step_ms <= FORWARD_JUMP_MS


class FrameGrid:
    """Where the frames of an audio track begin, in ticks of its sample rate.

    A hot path may do the usual case by itself: a time whose ticks differ from `next` by less than the
    tolerance is `next`, which becomes `last`.
    """

    __slots__ = ("last", "next", "resyncs", "sample_rate")

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self.last = NEVER
        self.next = NEVER
        """Where the coming frame belongs."""
        self.resyncs = 0
        """Frames that were not where their predecessor ended."""

    def change_rate(self, sample_rate: int) -> None:
        """Count in another sample rate from here on; the grid goes on where it was."""
        if self.last != NEVER:
            self.last = -(-self.last * sample_rate // self.sample_rate)
            self.next = rescale(self.next, self.sample_rate, sample_rate)
        self.sample_rate = sample_rate

    def tolerance(self, samples: int) -> int:
        """Ticks by which a frame's time may differ from the grid."""
        return min(self.sample_rate * GRID_TOLERANCE_MS // 1000, samples // 2)

    def place(self, ms: int, samples: int) -> int:
        """The pts of a frame of so many samples that begins at about `ms`."""
        pts = ms * self.sample_rate // 1000
        if self.last != NEVER:
            if abs(pts - self.next) < self.tolerance(samples):
                pts = self.next
            else:
                pts = max(pts, self.last + 1)
                self.resyncs += 1
        self.last = pts
        self.next = pts + samples
        return pts
