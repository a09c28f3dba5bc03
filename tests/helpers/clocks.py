"""Clocks whose hands a test turns."""

from __future__ import annotations

from aircheck.clock import SystemClock


class MovableClock(SystemClock):
    """The system's clock, and a hand that moves it forward."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.ahead_s
