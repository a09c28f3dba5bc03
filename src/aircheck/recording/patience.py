"""Patience with a disk that refused: asked again after a second, then each time twice as late."""

from __future__ import annotations

from aircheck.clock import Clock

RETRY_MIN_S = 1.0
RETRY_MAX_S = 30.0
STEADY_MS = 10_000
"""A segment this long after trouble shows that the disk is well again."""


class Patience:
    """When a recording may try its disk again."""

    def __init__(self, clock: Clock) -> None:
        self.retry_s = RETRY_MIN_S
        self.blocked_until_s = 0.0
        self._clock = clock

    @property
    def is_over(self) -> bool:
        """Whether the disk may be tried."""
        return self._clock.monotonic_s() >= self.blocked_until_s

    def note_refusal(self) -> None:
        self.note_full()
        self.retry_s = min(RETRY_MAX_S, self.retry_s * 2)

    def note_full(self) -> None:
        """There is no room: no fault of the disk, so the next pause is no longer than this one."""
        self.blocked_until_s = self._clock.monotonic_s() + self.retry_s

    def note_progress(self, duration_ms: int) -> None:
        """A segment has got this long without a fault."""
        if duration_ms > STEADY_MS:
            self.retry_s = RETRY_MIN_S
