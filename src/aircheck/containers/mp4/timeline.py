"""Where a file's time 0 lies, and the edit lists that say so.

All tracks of a stream share one timeline. Time 0 of the file is the pts of the first video key frame when the
audio begins at most 100 ms before it: that lead (encoder priming, mostly) stays in the file and is skipped by
the audio's edit list. Otherwise it is the smallest pts of any track, and tracks that begin later get an empty
edit. Data tracks are shown where they lie, and decide nothing. Everything follows from the index alone, so
that a recovered file equals a finished one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, lcm

from aircheck.containers.mp4.index import TrackIndex
from aircheck.media.track import Kind

_MAX_LEAD_S = Fraction(100, 1000)
_MAX_EXACT_TIMESCALE = 10_000_000
_MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Edit:
    """One track's edit list: a pause of `empty`, then the media from `media_time` on for `duration`.

    `empty` and `duration` are ticks of the movie's timescale, `media_time` of the track's.
    """

    empty: int
    media_time: int
    duration: int

    @property
    def is_needed(self) -> bool:
        return self.empty > 0 or self.media_time > 0

    @property
    def end(self) -> int:
        return self.empty + self.duration


def movie_timescale(timescales: Sequence[int]) -> int:
    """A timescale in which every track's ticks are whole numbers, so that no edit list is rounded."""
    exact = lcm(*timescales) if timescales else 1000
    return exact if exact <= _MAX_EXACT_TIMESCALE else _MICROSECONDS


def zero_time_s(tracks: Sequence[TrackIndex]) -> Fraction:
    """Time 0 of the file on the stream's timeline, in seconds; 0 when there is no sample yet."""
    begun = [track for track in tracks if track.samples]
    begun = [track for track in begun if track.header.kind is not Kind.DATA] or begun
    if not begun:
        return Fraction(0)
    key = next(
        (_seconds(track, track.first_key_pts) for track in begun if track.first_key_pts is not None), None
    )
    audio = min(
        (_seconds(track, track.first_pts) for track in begun if not track.header.is_video), default=None
    )
    if key is not None and (audio is None or key - audio <= _MAX_LEAD_S):
        return key
    earliest = min(_seconds(track, track.first_pts) for track in begun)
    # A stream that begins a little before 0 says: this much is priming, skip it.
    return Fraction(0) if -_MAX_LEAD_S <= earliest < 0 else earliest


def _seconds(track: TrackIndex, ticks: int) -> Fraction:
    return Fraction(ticks, track.header.timescale)


def ticks_at(time_s: Fraction, timescale: int) -> int:
    return round(time_s * timescale)


def edit_of(track: TrackIndex, zero_s: Fraction, movie_scale: int, end_s: Fraction | None = None) -> Edit:
    """The track's edit in a progressive file, where its media begins with its first dts at 0.

    Nothing is shown before `zero_s`, nor from `end_s` on.
    """
    scale = track.header.timescale
    late_s = _seconds(track, track.first_pts) - zero_s
    if late_s > 0:
        empty, begin = round(late_s * movie_scale), track.first_pts
    else:
        empty, begin = 0, max(ticks_at(zero_s, scale), track.first_dts)
    end = track.end_pts if end_s is None else min(track.end_pts, ticks_at(end_s, scale))
    shown = max(0, end - begin)
    return Edit(empty, begin - track.first_dts, ceil(Fraction(shown * movie_scale, scale)))


def duration_ms(tracks: Sequence[TrackIndex]) -> int:
    """From time 0 to the end of the longest track."""
    begun = [track for track in tracks if track.samples]
    if not begun:
        return 0
    end_s = max(_seconds(track, track.end_pts) for track in begun)
    return max(0, int((end_s - zero_time_s(begun)) * 1000))
