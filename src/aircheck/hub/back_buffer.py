"""The stream's recent past: what lets a viewer start at once, and a recording begin before it was asked for.

Kept only for somebody: nothing is held for a stream that only recordings listen to, because holding the last
seconds of each stream costs memory and, worse, keeps every payload out of the processor's caches. From
the first viewer on the last group of pictures is kept; recordings with pre-roll have as many kept as they
reach back.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from aircheck.media.packet import Batch, Packet


@dataclass(slots=True)
class _Group:
    """Batches from one that holds a key frame to the one before the next such."""

    start_ns: int
    batches: list[Batch] = field(default_factory=list)
    size_bytes: int = 0


class BackBuffer:
    """Whole groups of pictures, at least `keep_ms` of them, by time of arrival.

    Bounded by `limit_bytes`: the oldest groups go first, and a group that does not fit alone is not kept
    at all, because its head is what a decoder needs. Packets are kept by reference. In a stream without
    video every batch is a group.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.keep_ms = 0
        self.is_kept = False
        self.size_bytes = 0
        self._groups: deque[_Group] = deque()

    def keep(self, keep_ms: int = 0) -> None:
        """Hold the past from now on, at least so much of it."""
        self.is_kept = self.limit_bytes > 0
        self.keep_ms = max(self.keep_ms, keep_ms)

    def add(self, batch: Batch, *, has_video: bool) -> None:
        if batch.has_video_keyframe or not has_video:
            self._groups.append(_Group(batch.arrival_ns))
            self._forget_before(batch.arrival_ns - self.keep_ms * 1_000_000)
        if not self._groups:
            return
        group = self._groups[-1]
        group.batches.append(batch)
        group.size_bytes += batch.size_bytes
        self.size_bytes += batch.size_bytes
        while self.size_bytes > self.limit_bytes:
            self._forget_oldest()

    def clear(self) -> None:
        self._groups.clear()
        self.size_bytes = 0

    def packets(self, *, since_ns: int | None = None) -> list[Packet]:
        """From the last key frame on; or from the last one that had arrived by `since_ns`, if it is still
        held.

        What came before the key frame in the same batch is left out.
        """
        first = len(self._groups) - 1
        while since_ns is not None and first > 0 and self._groups[first].start_ns > since_ns:
            first -= 1
        groups = list(self._groups)[max(0, first) :]
        packets = [packet for group in groups for batch in group.batches for packet in batch.packets]
        return packets[_head(packets) :]

    def _forget_before(self, limit_ns: int) -> None:
        while len(self._groups) > 1 and self._groups[1].start_ns <= limit_ns:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        self.size_bytes -= self._groups.popleft().size_bytes


def _head(packets: list[Packet]) -> int:
    """Where a decoder can begin: at the first key frame of video, or at once without video."""
    heads = (i for i, packet in enumerate(packets) if packet.track.is_video and packet.is_keyframe)
    return next(heads, 0)
