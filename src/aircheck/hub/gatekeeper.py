"""What rooms that let peers in ask first. The app hands in the service that knows the rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Attempt:
    """A peer that wants to publish or play. `query` holds what stood behind `?` in the URL or the key."""

    protocol: str
    session_id: str
    remote_address: str
    app: str
    name: str
    query: Mapping[str, str] = field(default_factory=dict)
    proven_user: str = ""
    """The login that the peer proved by challenge and response."""
    media_session_id: str = ""
    """Of the stream that would come of it; empty if that is not known yet, or when it wants to play."""


@dataclass(frozen=True, slots=True)
class Admission:
    """The answer: in as `login`, or out for `reason` (a sentence for the peer and the log).

    `remedy` is what the peer can do about it.
    """

    is_allowed: bool
    login: str = ""
    reason: str = ""
    remedy: str = ""


class Gatekeeper(Protocol):
    async def may_publish(self, attempt: Attempt) -> Admission: ...

    async def may_play(self, attempt: Attempt) -> Admission: ...

    def password_of(self, user: str) -> str | None:
        """For challenge and response: the secret of a user, `None` if there is no such user."""
        ...

    @property
    def has_users(self) -> bool:
        """Whether a peer without credentials should be asked for a login."""
        ...
