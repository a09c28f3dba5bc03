"""The sessions that WHIP and WHEP made, by the part of their URL that nobody can guess."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from aircheck.service.peers import Peer
from aircheck.wire import sdp


@dataclass(slots=True)
class Session:
    """A peer, and the ICE username fragment of its remote: another one means an ICE restart."""

    peer: Peer
    remote_ufrag: str


class Sessions:
    """Whoever knows the URL of a session may change and end it; it is told to its maker only."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def add(self, peer: Peer, offer: str) -> str:
        """Keep a peer that was just taken in; returns the last part of its URL."""
        key = secrets.token_urlsafe(18)
        if not peer.is_closed:
            self._sessions[key] = Session(peer, _ufrag(offer))
        return key

    def get(self, key: str) -> Session | None:
        return self._sessions.get(key)

    def changed(self, peer: Peer) -> None:
        """A peer that has ended has no URL any more."""
        if peer.is_closed:
            self._sessions = {key: one for key, one in self._sessions.items() if one.peer is not peer}


def _ufrag(offer: str) -> str:
    description = sdp.parse(offer)
    sections = (description, *description.media)
    return next((ufrag for section in sections if (ufrag := section.value("ice-ufrag"))), "")
