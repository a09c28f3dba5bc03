"""A bad network, without a network: what is put in comes out later, out of order, twice, or never."""

from __future__ import annotations

import heapq
import random
from itertools import count


class Impairment:
    """One direction of a path. Times are seconds on the caller's clock; the same seed does the same harm.

    A packet takes `delay_s` and up to `jitter_s` more, `reorder` is the share that takes another
    `reorder_delay_s`, `duplicate` the share that comes twice. Packets are lost one by one, or `burst` at a
    time on average. The first `calm_packets` only take `delay_s`: what was sent before the first packet that
    arrives is not known to be missing.
    """

    def __init__(
        self,
        *,
        calm_packets: int = 0,
        loss: float = 0.0,
        burst: float = 0.0,
        reorder: float = 0.0,
        duplicate: float = 0.0,
        delay_s: float = 0.0,
        jitter_s: float = 0.0,
        reorder_delay_s: float = 0.03,
        seed: int = 1,
    ) -> None:
        self._calm_packets = calm_packets
        self.loss = loss
        self.lost = 0
        self.passed = 0
        self._is_losing = False
        self._burst = burst
        self._reorder = reorder
        self._duplicate = duplicate
        self._delay_s = delay_s
        self._jitter_s = jitter_s
        self._reorder_delay_s = reorder_delay_s
        self._chance = random.Random(seed)
        self._number = count()
        self._on_the_way: list[tuple[float, int, bytes]] = []

    def send(self, packet: bytes, now_s: float) -> None:
        chance = self._chance
        if self.passed < self._calm_packets:
            self.passed += 1
            heapq.heappush(self._on_the_way, (now_s + self._delay_s, next(self._number), packet))
            return
        if self._loses():
            self.lost += 1
            return
        self.passed += 1
        for _ in range(2 if chance.random() < self._duplicate else 1):
            due_s = now_s + self._delay_s + chance.random() * self._jitter_s
            if chance.random() < self._reorder:
                due_s += self._reorder_delay_s
            heapq.heappush(self._on_the_way, (due_s, next(self._number), packet))

    def _loses(self) -> bool:
        likely = self.loss
        if self._burst:
            likely = 1 - 1 / self._burst if self._is_losing else self.loss / (1 - self.loss) / self._burst
        self._is_losing = self._chance.random() < likely
        return self._is_losing

    def receive(self, now_s: float) -> list[bytes]:
        """What has come by now, in the order of arrival."""
        arrived: list[bytes] = []
        while self._on_the_way and self._on_the_way[0][0] <= now_s:
            arrived.append(heapq.heappop(self._on_the_way)[2])
        return arrived

    @property
    def is_empty(self) -> bool:
        return not self._on_the_way
