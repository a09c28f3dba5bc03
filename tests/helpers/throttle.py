"""A narrow link: so many bits in a second, a queue before it, and what finds the queue full is lost."""

from __future__ import annotations

from collections import deque


class Throttle:
    """One direction of a path, in place of an `Impairment`. Times are seconds on the caller's clock."""

    def __init__(self, *, bits_per_s: float, queue_bytes: int) -> None:
        self.bits_per_s = bits_per_s
        self.lost = 0
        self.passed = 0
        self._queue_bytes = queue_bytes
        self._waiting_bytes = 0
        self._free_at_s = 0.0
        self._on_the_way: deque[tuple[float, bytes]] = deque()

    def send(self, packet: bytes, now_s: float) -> None:
        if self._waiting_bytes + len(packet) > self._queue_bytes:
            self.lost += 1
            return
        self.passed += 1
        self._waiting_bytes += len(packet)
        self._free_at_s = max(self._free_at_s, now_s) + len(packet) * 8 / self.bits_per_s
        self._on_the_way.append((self._free_at_s, packet))

    def receive(self, now_s: float) -> list[bytes]:
        """What has come by now."""
        arrived: list[bytes] = []
        while self._on_the_way and self._on_the_way[0][0] <= now_s:
            packet = self._on_the_way.popleft()[1]
            self._waiting_bytes -= len(packet)
            arrived.append(packet)
        return arrived
