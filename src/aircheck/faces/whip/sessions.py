"""The sessions that WHIP and WHEP made, by the part of their URL that nobody can guess."""

from __future__ import annotations

from dataclasses import dataclass

from aircheck.service.peers import Peer
from aircheck.webrtc.peer import PeerState
from aircheck.wire import sdp


@dataclass(slots=True)
class Session:
    """A peer, and the ICE username fragment of its remote: another one means an ICE restart."""

    peer: Peer
    remote_ufrag: str

    @property
    def etag(self) -> str:
        """RFC 9110 8.8.3: a strong entity tag has quotation marks."""
        return f'"{self.peer.etag}"'


class Sessions:
    """Whoever knows the URL of a session may change and end it; it is told to its maker only."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def add(self, peer: Peer, offer: str) -> Session:
        """Keep a peer that was just taken in."""
        session = Session(peer, _ufrag(offer))
        if not peer.state.is_over:
            self._sessions[peer.id] = session
        return session

    def get(self, peer_id: str) -> Session | None:
        return self._sessions.get(peer_id)

    def changed(self, peer: Peer, state: PeerState, info: str) -> None:
        """A peer that has ended has no URL any more."""
        if state.is_over:
            self._sessions.pop(peer.id, None)


def _ufrag(offer: str) -> str:
    description = sdp.parse(offer)
    sections = (description, *description.media)
    return next((ufrag for section in sections if (ufrag := section.value("ice-ufrag"))), "")
