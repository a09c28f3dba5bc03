"""What happened, in order."""

from __future__ import annotations

from typing import Protocol

from aircheck.facts import Event
from aircheck.service.pages import Page


class EventIndex(Protocol):
    """What the event service asks of the catalogue."""

    async def events(self, limit: int, cursor: str | None) -> Page[Event]: ...


class EventService:
    def __init__(self, index: EventIndex) -> None:
        self._index = index

    async def page(self, *, limit: int = 50, cursor: str | None = None) -> Page[Event]:
        """Events, the newest first. Raises `InvalidRequest` for a cursor that no page gave."""
        return await self._index.events(limit, cursor)
