"""ArrivalClock: where a stream's media time lies on the wall clock, by when its packets come in.

A packet can come in late and never early, and waits for its batch to be read: so the least delay of the last
seconds is the one to go by. It follows a publisher whose clock drifts or leaps within `WINDOW_NS`.
"""

from __future__ import annotations

WINDOW_NS = 5_000_000_000


class ArrivalClock:
    def __init__(self) -> None:
        self._least_ns: int | None = None
        self._least_before_ns: int | None = None
        """The same in the window before, so that there is always a whole one to look back on."""
        self._window_ends_ns = 0

    def note(self, arrival_ns: int, media_ns: int) -> None:
        """A packet of that media time came in then."""
        delay_ns = arrival_ns - media_ns
        if arrival_ns >= self._window_ends_ns:
            self._least_before_ns, self._least_ns = self._least_ns, delay_ns
            self._window_ends_ns = arrival_ns + WINDOW_NS
        elif self._least_ns is None or delay_ns < self._least_ns:
            self._least_ns = delay_ns

    @property
    def zero_ns(self) -> int | None:
        """The wall-clock time of media time 0; None before the first packet."""
        if self._least_ns is None or self._least_before_ns is None:
            return self._least_ns
        return min(self._least_ns, self._least_before_ns)
