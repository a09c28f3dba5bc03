"""DataLane: where the data messages of a publication lie on its time, and from when on there are any."""

from __future__ import annotations

from aircheck.media.packet import Packet
from aircheck.media.timeline import NEVER, Timeline, nearest
from aircheck.media.track import DATA_TRACK

DATA_TOLERANCE_MS = 1_000
"""Data further away from the audio and video around it has another clock, or none: many encoders say 0."""

EARLY_DATA_MAX_BYTES = 256 * 1024
"""Data messages that wait for the first audio or video."""

_TICKS_PER_MS = DATA_TRACK.timescale // 1000


class DataLane:
    """The data messages of a publication. They never move the clocks of audio and video."""

    __slots__ = ("_batch_bytes", "_last_dts", "_timeline", "_waiting", "_waiting_bytes", "displaced")

    def __init__(self, timeline: Timeline) -> None:
        self.displaced = 0
        self._timeline = timeline
        self._waiting: list[bytes] = []
        """What came before any audio or video."""
        self._waiting_bytes = 0
        self._last_dts = NEVER
        self._batch_bytes = 0

    def take(self, timestamp: int, body: bytes, packets: list[Packet]) -> bool:
        """Append a message to the packets, or let it wait; False when too much waits already."""
        self._release(packets)
        end_ms = self._timeline.end_ms()
        if end_ms is not None:
            packets.append(self._packet(self._place(timestamp, end_ms), body))
            return True
        self._waiting_bytes += len(body)
        if self._waiting_bytes > EARLY_DATA_MAX_BYTES:
            return False
        self._waiting.append(body)
        return True

    def end_batch(self, packets: list[Packet]) -> int:
        """See to it that nothing waits that need not; returns the size of the batch's data."""
        self._release(packets)
        size_bytes, self._batch_bytes = self._batch_bytes, 0
        return size_bytes

    def _release(self, packets: list[Packet]) -> None:
        """Put what has waited behind the first packet, at its time."""
        if self._waiting and packets:
            first = packets[0]
            ms = first.pts * 1000 // first.track.timescale
            packets[1:1] = [self._packet(ms, body) for body in self._waiting]
            self._waiting = []

    def _place(self, timestamp: int, end_ms: int) -> int:
        step = nearest(timestamp + self._timeline.offset_ms - end_ms)
        if abs(step) <= DATA_TOLERANCE_MS:
            return end_ms + step
        self.displaced += 1
        return end_ms

    def _packet(self, ms: int, body: bytes) -> Packet:
        dts = self._last_dts = max(ms * _TICKS_PER_MS, self._last_dts + 1)
        self._batch_bytes += len(body)
        return Packet(DATA_TRACK, dts, dts, True, body)
