"""HoldBack: lets a publisher wait that sends faster than real time, so that nothing of it must be dropped.

A publisher in real time is never held back: what it cannot send is lost, and a disk that stands still is no
reason for that. One that is ahead of real time (`hub.pace`) can wait as well as the disk can. So while a
recording of its stream has more in its queue than `BEGIN_RATIO`, its socket is not read, and TCP does the
rest. This ends when the queue has drained to `END_RATIO`, or when the publisher's lead is used up: then it is
in real time. A queue that does not drain for `HOLD_MAX_S` is not waited for again before it has drained: the
publisher may have hung up, which TCP tells only behind all that was sent before.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from aircheck.clock import Clock
from aircheck.hub.stream import Stream

_log = logging.getLogger(__name__)

BEGIN_RATIO = 0.5
"""Leaves room for what is on its way: a read of the socket, and sound that is being transcoded."""
END_RATIO = 0.25

LOOK_S = 0.02
"""Between two looks at the queue: shorter than a disk takes for what is left in it."""

HOLD_MAX_S = 60.0
GONE_MAX_S = 10.0
"""The same for one that is known to have hung up: somebody may want its name again."""


class HoldBack:
    """Of one publication. `on_change`, called when `is_holding` changes, reads the socket or leaves it."""

    def __init__(
        self, stream: Stream, clock: Clock, *, has_hung_up: Callable[[], bool], on_change: Callable[[], None]
    ) -> None:
        self.is_holding = False
        self._stream = stream
        self._clock = clock
        self._has_hung_up = has_hung_up
        self._on_change = on_change
        self._timer: asyncio.TimerHandle | None = None
        self._last_look_ns = 0
        self._held_ns = 0
        """For how long without a break."""
        self._has_given_up = False
        self._is_said = False

    def look(self) -> None:
        """After each batch."""
        if not self._stream.pace.is_ahead or self.is_holding:
            return
        ratio = self._stream.backlog_ratio
        if ratio <= END_RATIO:
            self._has_given_up = False
        elif ratio > BEGIN_RATIO and not self._has_given_up:
            self._begin()

    def end(self) -> None:
        """Without effect on a publisher that is not held back."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.is_holding:
            self.is_holding = False
            self._on_change()

    def _begin(self) -> None:
        self._last_look_ns = self._clock.wall_ns()
        self._held_ns = 0
        self.is_holding = True
        self._say()
        self._look_later()
        self._on_change()

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._look_again)

    def _look_again(self) -> None:
        self._count_time()
        if self._stream.backlog_ratio <= END_RATIO or not self._stream.pace.is_ahead:
            self.end()
        elif self._held_ns > (GONE_MAX_S if self._has_hung_up() else HOLD_MAX_S) * 1e9:
            self._has_given_up = True
            self.end()
        else:
            self._look_later()

    def _count_time(self) -> None:
        now_ns = self._clock.wall_ns()
        waited_ns = max(0, now_ns - self._last_look_ns)
        self._last_look_ns = now_ns
        self._stream.pace.wait(now_ns)
        self._stream.counters.held_back_ns += waited_ns
        self._held_ns += waited_ns

    def _say(self) -> None:
        if not self._is_said:
            self._is_said = True
            _log.info(
                "publisher sends faster than it can be recorded and is held back stream=%s session=%s"
                " ahead_s=%d",
                self._stream.name,
                self._stream.facts.session_id,
                self._stream.pace.lead_ns // 1_000_000_000,
            )
