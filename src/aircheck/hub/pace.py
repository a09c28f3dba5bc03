"""Pace: whether a publisher sends faster than real time, so that it can as well wait.

Its lead is the media time that came in beyond the time that passed. A lead is forgotten over `MEMORY_NS`, a
delay is not: who catches up after a bad moment of its network was never ahead. Nor is who leaps forward, or
begins with its last group of pictures. A replay is: at 1.5 times the speed it is ahead for good.
"""

from __future__ import annotations

AHEAD_NS = 3_000_000_000
"""A lead of a publisher that can wait."""

MEMORY_NS = 6_000_000_000
"""Together with `AHEAD_NS` the speed, 1.5, from which a publisher stays ahead."""

FIRST_DELAY_NS = 4_000_000_000
"""What a publisher may send at once at its beginning, beside `AHEAD_NS`."""

DELAY_MAX_NS = 60_000_000_000

PACKET_MAX_NS = 50_000_000
"""What a packet counts for at most: where time leaps there are few packets to the second."""


class Pace:
    """All times are ns: of arrival on the wall clock, of media on the stream's timeline."""

    def __init__(self) -> None:
        self.lead_ns = -FIRST_DELAY_NS
        """Of the last packet; negative for a publisher that is late."""
        self._at_ns: int | None = None
        self._media_ns = 0

    @property
    def is_ahead(self) -> bool:
        return self.lead_ns > AHEAD_NS

    def note(self, arrival_ns: int, media_ns: int, packets: int) -> None:
        """So many packets came in then, the last of them of that media time."""
        if self._at_ns is not None:
            passed_ns = max(0, arrival_ns - self._at_ns)
            gained_ns = min(media_ns - self._media_ns, packets * PACKET_MAX_NS)
            lead_ns = self.lead_ns
            if lead_ns > 0:
                lead_ns = lead_ns * MEMORY_NS // (MEMORY_NS + passed_ns)
            self.lead_ns = max(-DELAY_MAX_NS, lead_ns + gained_ns - passed_ns)
        self._at_ns, self._media_ns = arrival_ns, media_ns

    def wait(self, now_ns: int) -> None:
        """Time passes in which nothing is taken from the publisher: its lead shrinks and is not forgotten."""
        if self._at_ns is not None:
            self.lead_ns -= max(0, now_ns - self._at_ns)
        self._at_ns = now_ns
