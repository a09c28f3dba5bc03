"""Time, injected: rooms take a `Clock`, so that tests can turn the hands."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    def monotonic_s(self) -> float:
        """Seconds that only ever go forward; for durations and timeouts."""
        ...

    def wall_ns(self) -> int:
        """Nanoseconds since the epoch, UTC; for what people and files are told."""
        ...


class SystemClock:
    def monotonic_s(self) -> float:
        return time.monotonic()

    def wall_ns(self) -> int:
        return time.time_ns()
