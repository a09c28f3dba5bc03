"""The life of a peer in words.

    NEW ── first check ──▶ CHECKED ── DTLS done ──▶ CONNECTED ── close ──▶ CLOSED
      └──────────── no check, no handshake, silence, refusal ───────────▶ FAILED

The texts of `Info` are those that Flashphoner's clients know; other faces show them as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from aircheck.facts import EndReason


class PeerKind(StrEnum):
    PUBLISH = "publish"
    PLAY = "play"


class PeerState(StrEnum):
    NEW = "new"
    CHECKED = "checked"
    CONNECTED = "connected"
    CLOSED = "closed"
    FAILED = "failed"

    @property
    def is_over(self) -> bool:
        return self in (PeerState.CLOSED, PeerState.FAILED)


class Info:
    """Why a peer ended, in the words of Flashphoner's clients."""

    ICE_TIMEOUT = "Failed by ICE timeout"
    KEEP_ALIVE = "Failed by ICE keep alive"
    DTLS_ERROR = "Failed by DTLS error"
    RTP_ACTIVITY = "Failed by RTP activity"
    NAME_IN_USE = "Stream name is already in use"
    NOT_FOUND = "Stream not found"
    PUBLISHER_STOP = "Stopped by publisher stop"
    DISCONNECT = "Stopped by session disconnect"
    TERMINATED = "Stopped by rest /terminate"
    USER = "Stopped by user"
    INTERNAL = "Internal error"


INFO_OF_END = {
    EndReason.UNPUBLISHED: Info.USER,
    EndReason.DISCONNECTED: Info.DISCONNECT,
    EndReason.TIMED_OUT: Info.KEEP_ALIVE,
    EndReason.STOPPED: Info.TERMINATED,
    EndReason.SHUTDOWN: Info.TERMINATED,
    EndReason.INTERNAL_ERROR: Info.INTERNAL,
    EndReason.NO_MEDIA: Info.RTP_ACTIVITY,
}


@dataclass(frozen=True, slots=True)
class PeerTimeouts:
    """How long a peer may take to connect, be silent altogether, and be without media."""

    connect_s: float = 15.0
    silence_s: float = 20.0
    media_s: float = 60.0
