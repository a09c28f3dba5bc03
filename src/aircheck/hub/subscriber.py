"""What a stream asks of those who drain it."""

from __future__ import annotations

from typing import Protocol

from aircheck.facts import EndReason
from aircheck.media.packet import Batch


class Subscriber(Protocol):
    """Somebody who drains a stream: a recording, a viewer.

    Calls come on the loop, must not block and must not raise: a subscriber keeps its trouble to itself, so
    that one never disturbs another. Packets are shared between subscribers: nobody changes them.
    """

    @property
    def is_live(self) -> bool:
        """Whether somebody waits for each packet, so that the publisher's bytes are read as they arrive."""
        ...

    @property
    def backlog_ratio(self) -> float:
        """How full its queue is, 0 to 1 and beyond, where it would have to drop media: a publisher that can
        wait does so before. 0 where nobody is to wait for it."""
        ...

    def deliver(self, batch: Batch) -> None: ...

    def ended(self, reason: EndReason) -> None:
        """The publication is over; nothing more will be delivered."""
        ...
