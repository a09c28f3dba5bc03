"""What happened, in order."""

from __future__ import annotations

from collections.abc import Sequence

from aircheck.catalog import Catalog, CursorError, Page
from aircheck.facts import Event, EventKind
from aircheck.service.errors import InvalidRequest, UnknownKind


class EventService:
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def page(
        self, *, kinds: Sequence[str] = (), limit: int = 50, cursor: str | None = None
    ) -> Page[Event]:
        """Events, the newest first; only of `kinds` if there are any (see `parse_kinds`).

        Raises `UnknownKind`, and `InvalidRequest` for a cursor that no page gave.
        """
        wanted = parse_kinds(kinds)
        try:
            return await self._catalog.latest_events(kinds=wanted, limit=limit, cursor=cursor)
        except CursorError as error:
            raise InvalidRequest(error.message, remedy=error.remedy) from error


def parse_kinds(words: Sequence[str]) -> tuple[EventKind, ...]:
    """Each word is a kind or several with commas between; empty ones are skipped. Raises `UnknownKind`."""
    names = [name.strip() for word in words for name in word.split(",")]
    return tuple(dict.fromkeys(_kind(name) for name in names if name))


def _kind(name: str) -> EventKind:
    try:
        return EventKind(name)
    except ValueError:
        known = ", ".join(EventKind)
        raise UnknownKind(
            f"there are no events of the kind {name!r}", remedy=f"the kinds are {known}"
        ) from None
