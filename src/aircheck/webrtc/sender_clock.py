"""What the clock of a sender says, by the packets that tell when they were sent, for those that do not.

Chromium's headers tell it of all packets, Firefox's of pictures alone. All take the same way: sound that
comes beside pictures was sent when they were.
"""

from __future__ import annotations

from aircheck.wire.rtp.send_times import WRAP_S

SPAN_S = 0.1
"""The packet that waited the least is looked for among those of two spans. Shorter than what proves that a
clock stood still: a way that has become longer must not look like that."""


class SenderClock:
    """Times of sending are modulo `WRAP_S`, those of arrival on our monotonic clock; seconds."""

    def __init__(self) -> None:
        self._ahead_s: float | None = None
        """By how much the sender's clock is ahead of ours, less the way, in the present span."""
        self._before_s: float | None = None
        """And in the span before it."""
        self._since_s = 0.0

    def told(self, sent_s: float, now_s: float) -> None:
        """What has just come says when it was sent."""
        ahead_s = sent_s - now_s
        known_s, age_s = self._ahead_s, now_s - self._since_s
        if known_s is None or age_s >= SPAN_S:
            self._before_s = known_s if age_s < 2 * SPAN_S else None
            self._ahead_s, self._since_s = ahead_s, now_s
        elif nearest_s(ahead_s - known_s) > 0:
            self._ahead_s = ahead_s

    def at(self, now_s: float) -> float | None:
        """When what has just come was sent, or somewhat earlier; None when nothing has told lately."""
        ahead_s, before_s = self._ahead_s, self._before_s
        if ahead_s is None or now_s - self._since_s > 2 * SPAN_S:
            return None
        if before_s is not None and nearest_s(before_s - ahead_s) > 0:
            ahead_s = before_s
        return now_s + ahead_s


def nearest_s(difference_s: float) -> float:
    """The difference of two times that are known modulo `WRAP_S`, as the smaller step in either direction."""
    return (difference_s + WRAP_S / 2) % WRAP_S - WRAP_S / 2
