"""The holes of a recording: what was lost, from when to when, and why. Nothing is lost silently."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from aircheck.facts import GapFacts, GapReason
from aircheck.media.packet import Packet
from aircheck.recording.segment import Segment


@dataclass(slots=True)
class _OpenGap:
    """A hole that has not ended yet. `refused` is the segment that the disk refused, if one was."""

    start_ms: int
    reason: GapReason
    at_ns: int
    refused: Segment | None
    packets: int = 0
    size_bytes: int = 0


class GapLog:
    """The holes so far and the one that is open. Media times in ms, as everywhere in the recording."""

    def __init__(self) -> None:
        self.closed: list[GapFacts] = []
        self.dropped_packets = 0
        self.dropped_bytes = 0
        self._open: _OpenGap | None = None

    @property
    def is_open(self) -> bool:
        """Whether media is being lost at this moment."""
        return self._open is not None

    @property
    def reason(self) -> GapReason | None:
        return self._open.reason if self._open is not None else None

    def begin(self, reason: GapReason, start_ms: int, at_ns: int, refused: Segment | None = None) -> bool:
        """Open a hole; False when one is open already, which then goes on."""
        if self._open is not None:
            return False
        self._open = _OpenGap(start_ms, reason, at_ns, refused)
        return True

    def drop(self, packet: Packet) -> None:
        """Count a packet into the open hole."""
        assert self._open is not None
        size_bytes = len(packet.data)
        self._open.packets += 1
        self._open.size_bytes += size_bytes
        self.dropped_packets += 1
        self.dropped_bytes += size_bytes

    def close(self, end_ms: int) -> GapFacts | None:
        """End the open hole; returns what it was."""
        gap, self._open = self._open, None
        if gap is None:
            return None
        lost = (gap.refused.lost_packets, gap.refused.lost_bytes) if gap.refused is not None else (0, 0)
        facts = GapFacts(
            start_ms=gap.start_ms,
            duration_ms=max(0, end_ms - gap.start_ms),
            reason=gap.reason,
            dropped_packets=gap.packets + lost[0],
            dropped_bytes=gap.size_bytes + lost[1],
            at_ns=gap.at_ns,
        )
        self.closed.append(facts)
        return facts

    def add(self, gap: GapFacts) -> None:
        """A hole that others found."""
        self.closed.append(gap)
        self.dropped_packets += gap.dropped_packets
        self.dropped_bytes += gap.dropped_bytes

    def forget_open(self) -> None:
        """Nothing came after the hole: it was the end."""
        self._open = None


def reason_of(error: Exception) -> GapReason:
    """Why the disk refused."""
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return GapReason.DISK_FULL
    return GapReason.DISK_ERROR
