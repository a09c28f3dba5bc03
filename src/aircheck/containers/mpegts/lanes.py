"""Tracks on their way into PES packets (ISO/IEC 13818-1, 2.4.3.6)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from aircheck.containers.lane import Lane
from aircheck.containers.mpegts.framing import (
    frame_samples,
    picture_framing,
    sound_framing,
    stream_entry,
    stream_id,
)
from aircheck.containers.mpegts.header import CLOCK_RATE
from aircheck.containers.mpegts.id3 import build_tag
from aircheck.containers.mpegts.packets import append_unit
from aircheck.media.packet import Payload
from aircheck.media.track import Codec, Track

_GROUP_TICKS = CLOCK_RATE // 4
_GROUP_TICKS_WITH_CLOCK = CLOCK_RATE * 9 // 100
"""Clock references may be 100 ms apart (2.7.2)."""
_GROUP_MAX_BYTES = 48_000
_MAX_LENGTH = 0xFFFF
_MAX_PIECE = 60_000
"""Of a data message in one PES packet."""
_SHORT_UNIT = 64
"""Fits into the first transport packet behind the header, so that the other unit need not be copied to it."""

_HAS_PTS, _HAS_BOTH = 0x8480, 0x84C0
"""Flags of a PES header: data begins with an access unit; which times follow."""
_PTS_ALONE, _PTS_BEFORE_DTS, _DTS = (prefix << 36 | 0x100010001 for prefix in (2, 3, 1))
"""Prefix of a time stamp, and a marker bit behind each of its parts."""


class TsLane(Lane):
    """A track and its PID."""

    __slots__ = ("counter", "entry", "pid", "stream_id")

    def __init__(self, track: Track, index: int) -> None:
        super().__init__(track, CLOCK_RATE)
        self.entry = stream_entry(track, index)
        self.pid = self.entry.pid
        self.stream_id = stream_id(track, index)
        self.counter = 0

    def _append_pes(
        self, parts: list[Payload], units: list[Payload], pts: int, dts: int, adaptation: bytes
    ) -> None:
        if pts == dts:
            times, flags, count = _stamp(_PTS_ALONE, pts), _HAS_PTS, 5
        else:
            times, flags, count = _stamp(_PTS_BEFORE_DTS, pts) << 40 | _stamp(_DTS, dts), _HAS_BOTH, 10
        length = sum(map(len, units)) + 3 + count
        if length > _MAX_LENGTH:
            length = 0  # a long picture: its end is where the next one begins
        fixed = (1 << 24 | self.stream_id << 16 | length) << 24 | flags << 8 | count
        header = (fixed << 8 * count | times).to_bytes(9 + count, "big")
        if len(units) == 2 and len(units[0]) <= _SHORT_UNIT:
            header, body = header + units[0], units[1]
        else:
            body = b"".join(units)
        self.counter = append_unit(parts, self.pid, self.counter, header, body, adaptation)


class PictureLane(TsLane):
    __slots__ = ("framing",)

    def __init__(self, track: Track, index: int) -> None:
        self.framing = picture_framing(track)
        super().__init__(track, index)

    def append(
        self, parts: list[Payload], data: Payload, dts: int, pts: int, adaptation: bytes, is_keyframe: bool
    ) -> None:
        """One picture; times in ticks of the container."""
        self._append_pes(parts, self.framing(data, is_keyframe), pts, dts, adaptation)


class SoundLane(TsLane):
    """Frames wait here: those that follow each other share a PES packet, which has the pts of the first."""

    __slots__ = ("_fixed_step", "frames", "framing", "most_waiting", "times")

    def __init__(self, track: Track, index: int) -> None:
        self.framing = sound_framing(track)
        super().__init__(track, index)
        self.frames: list[Payload] = []
        self.times: list[int] = []
        self.most_waiting = max(1, _GROUP_TICKS * self.den // (self.last_duration * self.num))
        """So many frames go to the file before the next picture, that they do not lag behind it."""
        self._fixed_step = self._step(b"") if track.codec in (Codec.AAC, Codec.AC3) else None

    def forget(self) -> None:
        self.frames, self.times = [], []

    def groups(self, *, has_clock: bool) -> Iterator[tuple[int, list[Payload]]]:
        """What waits, as pts in ticks of the container and frames that share a PES packet."""
        frames, times = self.frames, self.times
        self.forget()
        start = 0
        while start < len(frames):
            count = self._count_together(frames, times, start, has_clock)
            yield self.ticks(times[start]), frames[start : start + count]
            start += count

    def append(self, parts: list[Payload], frames: list[Payload], pts: int, adaptation: bytes) -> None:
        self._append_pes(parts, self.framing(frames), pts, pts, adaptation)

    def _count_together(self, frames: list[Payload], times: list[int], start: int, has_clock: bool) -> int:
        """How many frames from `start` on lie where readers will place them."""
        step = self._fixed_step if self._fixed_step is not None else self._step(frames[start])
        if not step:
            return 1
        most_ticks = _GROUP_TICKS_WITH_CLOCK if has_clock else _GROUP_TICKS
        most = max(1, most_ticks * self.den // (step * self.num))
        rest = times[start : start + most]
        expected = list(range(rest[0], rest[0] + step * len(rest), step))
        count = len(rest)
        if rest != expected:
            count = next(n for n, (time, due) in enumerate(zip(rest, expected, strict=True)) if time != due)
        while count > 1 and sum(map(len, frames[start : start + count])) > _GROUP_MAX_BYTES:
            count //= 2
        return count

    def _step(self, frame: Payload) -> int:
        """How far apart readers place frames like this one, in the track's ticks; 0: not a whole number."""
        track = self.track
        rate = track.timescale if track.codec is Codec.AAC else track.sample_rate
        ticks, rest = divmod(frame_samples(track, frame) * track.timescale, rate or 1)
        return 0 if rest else ticks


class DataLane(TsLane):
    """Data messages, each a tag of ID3."""

    __slots__ = ()

    def append(self, parts: list[Payload], message: Payload, pts: int) -> None:
        """One message at a time in ticks of the container; a long one takes several PES packets."""
        tag = build_tag(message)
        self._append_pes(parts, [tag[:_MAX_PIECE]], pts, pts, b"")
        for start in range(_MAX_PIECE, len(tag), _MAX_PIECE):
            piece = tag[start : start + _MAX_PIECE]
            # Neither a time nor the beginning of something: it goes on with what came before.
            header = struct.pack(">IHBBB", 1 << 8 | self.stream_id, len(piece) + 3, 0x80, 0, 0)
            self.counter = append_unit(parts, self.pid, self.counter, header, piece)


def _stamp(marks: int, time: int) -> int:
    """33 bits in five bytes."""
    return marks | (time & 0x1C0000000) << 3 | (time & 0x3FFF8000) << 2 | (time & 0x7FFF) << 1
