"""Pacer: large frames leave over some milliseconds, because what bursts is lost on the way."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

BURST_PACKETS = 64
INTERVAL_S = 0.004
"""At most a burst each so often: 150 Mbit/s."""


class Pacer:
    """Hands packets on in order: a few at once, many bit by bit."""

    def __init__(self, send: Callable[[Sequence[bytes]], None]) -> None:
        self._send = send
        self._queue: deque[bytes] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Packets whose turn has not come."""
        return len(self._queue)

    def send(self, packets: Sequence[bytes]) -> None:
        if not self._queue and len(packets) <= BURST_PACKETS:
            if packets:
                self._send(packets)
            return
        self._queue.extend(packets)
        if self._timer is None:
            self._turn()

    def clear(self) -> None:
        self._queue.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _turn(self) -> None:
        self._timer = None
        queue = self._queue
        self._send([queue.popleft() for _ in range(min(BURST_PACKETS, len(queue)))])
        if queue:
            self._timer = asyncio.get_running_loop().call_later(INTERVAL_S, self._turn)
