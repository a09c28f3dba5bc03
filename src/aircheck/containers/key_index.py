"""The key frames of an appended file: where a player may begin, and how many of them find room."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

_AUDIO_INTERVAL_S = 5


@dataclass(slots=True)
class KeyIndex:
    """`times` are the container's ticks, `positions` offsets in the file; 16 bytes a key frame.

    Keys that follow the one before within `interval` are left out: of sound every frame is one.
    """

    interval: int = 0
    times: array[int] = field(default_factory=lambda: array("q"))
    positions: array[int] = field(default_factory=lambda: array("q"))

    @classmethod
    def of(cls, *, has_video: bool, clock_rate: int) -> KeyIndex:
        return cls(0 if has_video else _AUDIO_INTERVAL_S * clock_rate)

    def __len__(self) -> int:
        return len(self.times)

    def offer(self, time: int, position: int) -> None:
        if not self.times or time >= self.times[-1] + self.interval or time < self.times[-1]:
            self.times.append(time)
            self.positions.append(position)

    def copy(self) -> KeyIndex:
        return KeyIndex(self.interval, self.times[:], self.positions[:])

    def thinned(self, most: int) -> KeyIndex:
        """At most so many, evenly spread, the first always among them."""
        if len(self) <= most or most <= 0:
            return self if most > 0 else KeyIndex()
        step = -(-len(self) // most)
        return KeyIndex(self.interval, self.times[::step], self.positions[::step])
