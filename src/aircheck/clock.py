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
    """The functions themselves: they are called for every read of every socket."""

    monotonic_s = staticmethod(time.monotonic)
    wall_ns = staticmethod(time.time_ns)
