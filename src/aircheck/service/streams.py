"""Live streams, as the faces see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from aircheck.clock import Clock
from aircheck.facts import StreamFacts
from aircheck.service.errors import NotFound


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """A live stream and what passed through it since it was published.

    `gap_reasons` are its recordings' gaps by reason, `notices` what was odd in its media by kind. The counts
    per track in its facts are of its oldest running recording, and 0 while nothing records it.
    """

    facts: StreamFacts
    packets: int = 0
    size_bytes: int = 0
    bitrate_bps: int = 0
    gaps: int = 0
    dropped_packets: int = 0
    subscribers: int = 0
    held_back_ns: int = 0
    """How long its publisher had to wait because it sends faster than real time."""
    gap_reasons: Mapping[str, int] = field(default_factory=dict)
    notices: Mapping[str, int] = field(default_factory=dict)
    subscriber_errors: int = 0

    @property
    def id(self) -> str:
        """The media session: one publication."""
        return self.facts.id


class LiveStreams(Protocol):
    """What the streams service asks of the hub. Called on the loop; must not block."""

    def streams(self) -> Sequence[StreamStatus]: ...


class StreamService:
    def __init__(self, live: LiveStreams, clock: Clock) -> None:
        self._live = live
        self._clock = clock

    def list(self, name: str | None = None, app: str | None = None) -> Sequence[StreamStatus]:
        """Live streams, the longest published first; only of a name or an application if one is given."""
        found = (
            stream
            for stream in self._live.streams()
            if (name is None or stream.facts.name == name) and (app is None or stream.facts.app == app)
        )
        return sorted(found, key=lambda stream: (stream.facts.published_ns, stream.id))

    def get(self, stream_id: str) -> StreamStatus:
        """The stream of that media session. Raises `NotFound`."""
        for stream in self._live.streams():
            if stream.id == stream_id:
                return stream
        raise NotFound(
            f"no live stream has the id {stream_id!r}",
            remedy="GET /api/v1/streams lists what is live now; the id changes with each publication",
        )

    def uptime_ms(self, stream: StreamStatus) -> int:
        """Milliseconds since the publication; never negative, even if the wall clock was set back."""
        until_ns = stream.facts.ended_ns or self._clock.wall_ns()
        return max(0, until_ns - stream.facts.published_ns) // 1_000_000
