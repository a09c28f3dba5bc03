"""What happened, in order."""

from __future__ import annotations

from aircheck.catalog import Catalog, CursorError, Page
from aircheck.facts import Event
from aircheck.service.errors import InvalidRequest


class EventService:
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def page(self, *, limit: int = 50, cursor: str | None = None) -> Page[Event]:
        """Events, the newest first. Raises `InvalidRequest` for a cursor that no page gave."""
        try:
            return await self._catalog.latest_events(limit=limit, cursor=cursor)
        except CursorError as error:
            raise InvalidRequest(error.message, remedy=error.remedy) from error
