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

    def deliver(self, batch: Batch) -> None: ...

    def ended(self, reason: EndReason) -> None:
        """The publication is over; nothing more will be delivered."""
        ...
