"""WebRTC peers as the faces see them: who publishes or watches after an offer and an answer.

Why a peer is not taken is told by the errors of `webrtc.errors`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from aircheck.facts import EndReason
from aircheck.hub.gatekeeper import Attempt
from aircheck.service.errors import InvalidRequest
from aircheck.webrtc.states import PeerState

DEFAULT_APP = "live"
"""The application of streams whose protocol knows none: the same that encoders are told to publish to."""

NAME_MAX_BYTES = 512


class Peer(Protocol):
    """One peer from its answer on. `on_change` of whoever made it is called at each change of `state`."""

    @property
    def id(self) -> str:
        """The media session."""
        ...

    @property
    def answer(self) -> str:
        """The description to answer the offer with; it has all candidates."""
        ...

    @property
    def etag(self) -> str:
        """Another one for each ICE session, with its quotation marks."""
        ...

    @property
    def is_connected(self) -> bool: ...

    @property
    def is_closed(self) -> bool: ...

    @property
    def state(self) -> PeerState: ...

    @property
    def info(self) -> str:
        """Why it was closed, in the words of Flashphoner's clients; empty before."""
        ...

    def add_candidates(self, fragment: str) -> None:
        """More ways to reach the remote. Raises `BadFragment`."""
        ...

    def restart_ice(self, fragment: str) -> str:
        """Begin a new ICE session; returns the fragment to answer with. Raises `BadFragment`."""
        ...

    def close(self, reason: EndReason = ..., info: str = ...) -> None: ...


OnChange = Callable[[Any], None]


class Peers(Protocol):
    """Takes peers in. Raises a `PeerRefused`. `wants_recording` None: as the settings say.

    Of an offer to publish that is not `is_all_or_nothing`, what cannot be taken is declined.
    """

    async def publish(
        self,
        offer: str,
        attempt: Attempt,
        *,
        media_session_id: str | None = None,
        wants_recording: bool | None = None,
        is_all_or_nothing: bool = False,
        on_change: OnChange | None = None,
    ) -> Peer: ...

    async def play(
        self,
        offer: str,
        attempt: Attempt,
        *,
        media_session_id: str | None = None,
        on_change: OnChange | None = None,
    ) -> Peer: ...


def check_stream_name(name: str) -> None:
    """Refuse what no stream can be called. Raises `InvalidRequest`."""
    remedy = f"give a name of at most {NAME_MAX_BYTES} bytes without control characters"
    if not name:
        raise InvalidRequest("the stream has no name", remedy=remedy)
    if len(name.encode(errors="replace")) > NAME_MAX_BYTES:
        raise InvalidRequest("the name of the stream is too long", remedy=remedy)
    if not name.isprintable():
        raise InvalidRequest("the name of the stream has characters that cannot be shown", remedy=remedy)
