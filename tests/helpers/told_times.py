"""What the pictures of `flash_page.js` tell: when each was drawn, and how far the beeps are from there."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import av

from aircheck.containers.verify import verify_file

_BITS = 20
_BIT_ROW = (256 + 16) / 360
"""Where the middle of the line of bits is, as a share of the picture's height."""

_BRIGHT = 128
_NEAR_S = 2.0


@dataclass(frozen=True, slots=True)
class ToldPicture:
    """Seconds: when it is shown, and the time of the sound at which it was drawn, as it says itself."""

    pts_s: float
    told_s: float


@dataclass(frozen=True, slots=True)
class ToldTimes:
    """Of one file. `skews_s` has for each beep by how much it comes too late for the pictures around it."""

    pictures: tuple[ToldPicture, ...]
    beeps_s: tuple[float, ...]

    @property
    def longest_freeze_s(self) -> float:
        """The longest time that one picture stays, be it alone or said again by others."""
        longest_s, began = 0.0, self.pictures[0]
        for before, after in pairwise(self.pictures):
            if after.told_s != before.told_s:
                longest_s, began = max(longest_s, after.pts_s - began.pts_s), after
        return longest_s

    def freezes_s(self, at_least_s: float) -> list[float]:
        gaps = (after.pts_s - before.pts_s for before, after in pairwise(self.pictures))
        return [gap for gap in gaps if gap >= at_least_s]

    @property
    def skews_s(self) -> list[float]:
        found, first = [], 0
        for beep_s in self.beeps_s:
            while first < len(self.pictures) and self.pictures[first].pts_s < beep_s - _NEAR_S:
                first += 1
            near = []
            for picture in self.pictures[first:]:
                if picture.pts_s > beep_s + _NEAR_S:
                    break
                near.append(picture.pts_s - picture.told_s)
            if near:
                late_s = beep_s - median(near)
                found.append(late_s - round(late_s))
        return found


def told_times(path: Path) -> ToldTimes:
    """Decode a file. Raises AssertionError for what does not decode."""
    verdict = verify_file(path)
    assert verdict.errors == []
    with av.open(str(path)) as container:
        pictures = tuple(
            ToldPicture(float(frame.time), _told_s(frame)) for frame in container.decode(video=0)
        )
    return ToldTimes(pictures, tuple(verdict.beeps_s))


def _told_s(frame: Any) -> float:
    luma = frame.planes[0]
    at = int(_BIT_ROW * frame.height) * luma.line_size
    row = memoryview(luma).cast("B")[at : at + frame.width]
    width = frame.width / _BITS
    bits = (row[int((bit + 0.5) * width)] > _BRIGHT for bit in range(_BITS))
    return sum(is_set << bit for bit, is_set in enumerate(bits)) / 1000
