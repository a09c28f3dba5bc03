"""PathLosses: whether a path takes what is sent to it, by how much of it is asked for again."""

from __future__ import annotations

from typing import NamedTuple

WINDOW_S = 0.4
SHARE_MAX = 0.25
"""Radio links lose a tenth at times, and sending again repairs that; a link that is too narrow for the stream
loses more and more, because what is sent again needs room as well."""
LOST_MIN_PACKETS = 16


class _Mark(NamedTuple):
    at_s: float
    sent: int
    lost: int


class PathLosses:
    """Looks at the totals of a line over the last one to two windows."""

    def __init__(self) -> None:
        self._before = self._mark = _Mark(0.0, 0, 0)

    def begin(self, sent_packets: int, lost_packets: int, now_s: float) -> None:
        """Forget what was: from now on something else is sent."""
        self._before = self._mark = _Mark(now_s, sent_packets, lost_packets)

    def are_too_many(self, sent_packets: int, lost_packets: int, now_s: float) -> bool:
        """The totals so far: packets that were sent, and those of them that were asked for again."""
        sent, lost = sent_packets - self._before.sent, lost_packets - self._before.lost
        if now_s - self._mark.at_s >= WINDOW_S:
            self._before, self._mark = self._mark, _Mark(now_s, sent_packets, lost_packets)
        return lost >= LOST_MIN_PACKETS and lost > SHARE_MAX * sent
