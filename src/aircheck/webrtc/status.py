"""What the peers are doing, in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class PeersStatus:
    """Now, or since the start where the name is in the past."""

    peers: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """By kind (publish, play) and state."""
    accepted: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    """Offers, by the reason."""
    ended: Mapping[str, int] = field(default_factory=dict)
    """Peers that are over, by the text of their end."""
    received_packets: int = 0
    received_bytes: int = 0
    sent_packets: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Datagrams and packets that were not believed, not understood or not taken, by kind."""
    media: Mapping[str, int] = field(default_factory=dict)
    """What was not as it should be in the media of publishers and viewers, and what was done about it."""
