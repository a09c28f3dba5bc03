"""Connections: who is connected to publish or play, by whatever protocol, and how to send them away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from aircheck.service.errors import NotFound


@dataclass(frozen=True, slots=True)
class ConnectionStatus:
    """One peer. `client` is what it says it is, `connected_ns` wall clock (ns since the epoch, UTC)."""

    session_id: str
    protocol: str
    app: str
    remote_address: str
    client: str = ""
    login: str = ""
    connected_ns: int = 0


class ConnectionSource(Protocol):
    """What the service asks of a protocol's server. Called on the loop; must not block."""

    def connections(self) -> Sequence[ConnectionStatus]: ...

    def close_connection(self, session_id: str) -> bool:
        """Ask a peer to go; False if there is none with this id."""
        ...


class ConnectionService:
    def __init__(self, *sources: ConnectionSource) -> None:
        self._sources = list(sources)

    def add_source(self, source: ConnectionSource) -> None:
        self._sources.append(source)

    def list(self) -> Sequence[ConnectionStatus]:
        """Every connection, the oldest first."""
        found = [status for source in self._sources for status in source.connections()]
        return sorted(found, key=lambda status: (status.connected_ns, status.session_id))

    def close(self, session_id: str) -> None:
        """Ask a peer to go; what it publishes ends, and so do recordings of that. Raises `NotFound`."""
        if not any(source.close_connection(session_id) for source in self._sources):
            raise NotFound(
                f"no connection has the session id {session_id!r}",
                remedy="live streams tell the session ids of their publishers; each connection has a new one",
            )
