"""Peers without a network, for the faces: what was asked is kept, what happens is up to the test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from aircheck.facts import EndReason
from aircheck.hub.gatekeeper import Attempt
from aircheck.webrtc.errors import BadFragment, BadOffer
from aircheck.webrtc.states import INFO_OF_END, PeerState

OFFER = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
    "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWC\r\n"
)
CANDIDATES = (
    "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWC\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n"
    "a=candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host\r\na=end-of-candidates\r\n"
)
RESTART = "a=ice-ufrag:ysXw\r\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\n"


OnChange = Callable[["FakePeer"], None]


@dataclass
class FakePeer:
    """A peer that was taken in."""

    id: str
    on_change: OnChange | None = None
    answer: str = "v=0\r\na=answer\r\n"
    etag: str = '"ice-1"'
    state: PeerState = PeerState.NEW
    info: str = ""
    end_reason: EndReason | None = None
    fragments: list[str] = field(default_factory=list)
    restarts_fail: bool = False

    @property
    def is_connected(self) -> bool:
        return self.state is PeerState.CONNECTED

    @property
    def is_closed(self) -> bool:
        return self.state.is_over

    def add_candidates(self, fragment: str) -> None:
        self.fragments.append(fragment)

    def restart_ice(self, fragment: str) -> str:
        if self.restarts_fail:
            raise BadFragment("no password", remedy="send ice-pwd too")
        self.fragments.append(fragment)
        self.etag = '"ice-2"'
        return "a=ice-lite\r\na=ice-ufrag:289b\r\na=ice-pwd:0b66f472495ef0ccac7bda65\r\n"

    def close(self, reason: EndReason = EndReason.UNPUBLISHED, info: str = "") -> None:
        self.end(PeerState.CLOSED, reason, info or INFO_OF_END[reason])

    def connect(self) -> None:
        self._change(PeerState.CONNECTED)

    def end(self, state: PeerState, reason: EndReason, info: str) -> None:
        """It ends by itself, or is ended from elsewhere."""
        if not self.state.is_over:
            self.end_reason, self.info = reason, info
            self._change(state)

    def _change(self, state: PeerState) -> None:
        self.state = state
        if self.on_change is not None:
            self.on_change(self)


@dataclass(frozen=True)
class Asked:
    what: str
    offer: str
    attempt: Attempt
    media_session_id: str | None
    wants_recording: bool | None = None
    is_all_or_nothing: bool = False


class FakePeers:
    """Takes in whoever comes unless `refusal` is set, once `may_answer` is."""

    def __init__(self) -> None:
        self.refusal: Exception | None = None
        self.asked: list[Asked] = []
        self.peers: list[FakePeer] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    @property
    def last(self) -> FakePeer:
        return self.peers[-1]

    async def publish(
        self,
        offer: str,
        attempt: Attempt,
        *,
        media_session_id: str | None = None,
        wants_recording: bool | None = None,
        is_all_or_nothing: bool = False,
        on_change: OnChange | None = None,
    ) -> FakePeer:
        asked = Asked("publish", offer, attempt, media_session_id, wants_recording, is_all_or_nothing)
        self.asked.append(asked)
        await self.may_answer.wait()
        return self._take_in(offer, media_session_id, on_change)

    async def play(
        self,
        offer: str,
        attempt: Attempt,
        *,
        media_session_id: str | None = None,
        on_change: OnChange | None = None,
    ) -> FakePeer:
        self.asked.append(Asked("play", offer, attempt, media_session_id))
        await self.may_answer.wait()
        return self._take_in(offer, media_session_id, on_change)

    def _take_in(self, offer: str, media_session_id: str | None, on_change: OnChange | None) -> FakePeer:
        if self.refusal is not None:
            raise self.refusal
        if not offer.startswith("v=0"):
            raise BadOffer("a description begins with v=0", remedy="send the offer as it is")
        peer = FakePeer(media_session_id or f"media-{len(self.peers) + 1}", on_change)
        self.peers.append(peer)
        return peer
