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
from aircheck.containers.mpegts.packets import PacketRun, headers_of
from aircheck.media.packet import Payload
from aircheck.media.track import Codec, Track

_GROUP_TICKS = CLOCK_RATE // 4
_GROUP_TICKS_WITH_CLOCK = CLOCK_RATE * 9 // 100
"""Clock references may be 100 ms apart (2.7.2)."""
_GROUP_MAX_BYTES = 48_000
_MAX_LENGTH = 0xFFFF
_MAX_PIECE = 60_000
"""Of a data message in one PES packet."""
_HAS_PTS, _HAS_BOTH = 0x8480, 0x84C0
"""Flags of a PES header: data begins with an access unit; which times follow."""
_PTS_ALONE, _PTS_BEFORE_DTS, _DTS = 0x21, 0x31, 0x11
"""The first byte of a time stamp: its prefix, and a marker bit as there is behind each of its parts."""
_pack_with_pts = struct.Struct(">IHHBBHH").pack
_pack_with_both = struct.Struct(">IHHBBHHBHH").pack


class TsLane(Lane):
    """A track and its PID."""

    __slots__ = ("counter", "entry", "headers", "pid", "start_code")

    def __init__(self, track: Track, index: int) -> None:
        super().__init__(track, CLOCK_RATE)
        self.entry = stream_entry(track, index)
        self.pid = self.entry.pid
        self.headers = headers_of(self.pid)
        self.start_code = 1 << 8 | stream_id(track, index)
        self.counter = 0

    def _append_pes(
        self, run: PacketRun, units: list[Payload], pts: int, dts: int, adaptation: bytes
    ) -> None:
        head, body = self._head(sum(map(len, units)), pts, dts), b"".join(units)
        self.counter = run.add_unit(self.headers, self.counter, adaptation, head, body)

    def _head(self, size: int, pts: int, dts: int) -> bytes:
        """The header of a PES packet with so many bytes behind it. Of 33 bits of a time, 3, 15 and 15."""
        if pts == dts:
            return _pack_with_pts(
                self.start_code,
                size + 8 if size + 8 <= _MAX_LENGTH else 0,
                _HAS_PTS,
                5,
                _PTS_ALONE | pts >> 29 & 0xE,
                pts >> 14 & 0xFFFE | 1,
                pts << 1 & 0xFFFE | 1,
            )
        return _pack_with_both(
            self.start_code,
            size + 13 if size + 13 <= _MAX_LENGTH else 0,  # a long picture ends where the next one begins
            _HAS_BOTH,
            10,
            _PTS_BEFORE_DTS | pts >> 29 & 0xE,
            pts >> 14 & 0xFFFE | 1,
            pts << 1 & 0xFFFE | 1,
            _DTS | dts >> 29 & 0xE,
            dts >> 14 & 0xFFFE | 1,
            dts << 1 & 0xFFFE | 1,
        )


class PictureLane(TsLane):
    __slots__ = ("framing",)

    def __init__(self, track: Track, index: int) -> None:
        self.framing = picture_framing(track)
        super().__init__(track, index)

    def append(
        self, run: PacketRun, data: Payload, dts: int, pts: int, adaptation: bytes, is_keyframe: bool
    ) -> None:
        """One picture; times in ticks of the container."""
        framing, size = self.framing, len(data)
        if is_keyframe or not framing.is_plain(data, size):
            self._append_pes(run, framing(data, is_keyframe), pts, dts, adaptation)
            return
        # Nearly every picture: its only unit goes into the packets as it is, but for its length.
        skipped, plain_head = framing.nal_length_size, framing.plain_head
        head = self._head(size - skipped + len(plain_head), pts, dts) + plain_head
        self.counter = run.add_unit(self.headers, self.counter, adaptation, head, data, skipped)


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

    def append(self, run: PacketRun, frames: list[Payload], pts: int, adaptation: bytes) -> None:
        self._append_pes(run, self.framing(frames), pts, pts, adaptation)

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

    def append(self, run: PacketRun, message: Payload, pts: int) -> None:
        """One message at a time in ticks of the container; a long one takes several PES packets."""
        tag = build_tag(message)
        self._append_pes(run, [tag[:_MAX_PIECE]], pts, pts, b"")
        for start in range(_MAX_PIECE, len(tag), _MAX_PIECE):
            piece = tag[start : start + _MAX_PIECE]
            # Neither a time nor the beginning of something: it goes on with what came before.
            header = struct.pack(">IHBBB", self.start_code, len(piece) + 3, 0x80, 0, 0)
            self.counter = run.add_unit(self.headers, self.counter, b"", header, piece)
