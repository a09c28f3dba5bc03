"""The sessions that WHIP and WHEP made, by the part of their URL that nobody can guess."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aircheck.facts import EndReason
from aircheck.service.connections import ConnectionStatus
from aircheck.service.peers import Peer
from aircheck.wire import sdp


@dataclass(slots=True)
class Session:
    """A peer, and the ICE username fragment of its remote: another one means an ICE restart."""

    peer: Peer
    connection: ConnectionStatus
    remote_ufrag: str


class Sessions:
    """Whoever knows the URL of a session may change and end it; it is told to its maker only.

    Implements `ConnectionSource`.
    """

    def __init__(self, on_ended: Callable[[str], None]) -> None:
        self._on_ended = on_ended
        self._sessions: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def add(self, peer: Peer, connection: ConnectionStatus, offer: str) -> str:
        """Keep the session of a peer that was just taken in; returns the last part of its URL."""
        key = secrets.token_urlsafe(18)
        self._sessions[key] = Session(peer, connection, _ufrag(offer))
        self.changed(peer)
        return key

    def get(self, key: str) -> Session | None:
        return self._sessions.get(key)

    def changed(self, peer: Peer) -> None:
        """A session that has ended has no URL any more."""
        if not peer.is_closed:
            return
        for key, session in list(self._sessions.items()):
            if session.peer is peer:
                del self._sessions[key]
                self._on_ended(session.connection.session_id)

    def connections(self) -> Sequence[ConnectionStatus]:
        return [session.connection for session in self._sessions.values() if session.peer.is_connected]

    def close_connection(self, session_id: str) -> bool:
        for session in self._sessions.values():
            if session.connection.session_id == session_id:
                session.peer.close(EndReason.STOPPED)
                return True
        return False


def _ufrag(offer: str) -> str:
    description = sdp.parse(offer)
    sections = (description, *description.media)
    return next((ufrag for section in sections if (ufrag := section.value("ice-ufrag"))), "")
