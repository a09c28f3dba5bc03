"""Rows that the catalogue could not take: kept, the newest of each, and written as soon as it can.

A full disk or a locked database costs no row this way, only time. While anything is late, all that comes is
late too, so that no row overtakes its parent; one writing in `RETRY_S` asks whether the catalogue is well,
however many recordings wait, and the log says when trouble begins and when it is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from itertools import count, islice

from aircheck.catalog import Catalog
from aircheck.catalog.trouble import DatabaseError, Trouble
from aircheck.errors import CatalogError
from aircheck.facts import Event, RecordingFacts, SegmentFacts, StreamFacts
from aircheck.tasks import TaskGroup

_log = logging.getLogger(__name__)

RETRY_S = 2.0
MAX_LATE = 20_000
"""More than this is forgotten, the oldest first: rows can be made again from the files' notes."""

_AT_ONCE = 500

Kept = StreamFacts | RecordingFacts | SegmentFacts | Event
_Key = tuple[type, str]


class LateRows:
    """What waits for one catalogue. Belongs to its loop; `close` writes what it still can."""

    def __init__(self, catalog: Catalog) -> None:
        self.forgotten = 0
        self._catalog = catalog
        self._rows: dict[_Key, Kept] = {}
        self._tasks = TaskGroup("late rows")
        self._event_numbers = count()
        self._written = 0
        self._is_closing = asyncio.Event()

    def __len__(self) -> int:
        return len(self._rows)

    def keep(self, row: Kept) -> None:
        """Take a row; a newer one of the same id replaces it."""
        key = (type(row), f"event {next(self._event_numbers)}" if isinstance(row, Event) else row.id)
        self._rows[key] = row
        if len(self._rows) > MAX_LATE:
            del self._rows[next(iter(self._rows))]
            self.forgotten += 1
        if not len(self._tasks):
            self._tasks.spawn(self._retry(), "retry")

    async def close(self) -> None:
        self._is_closing.set()
        await self._tasks.join()
        if self._rows:
            _log.error("rows are missing rows=%d remedy=%s", len(self._rows), "aircheck check --repair")

    async def _retry(self) -> None:
        while self._rows:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._is_closing.wait(), RETRY_S)
            await self._write_all()
            if self._is_closing.is_set():
                return
        _log.info("catalogue is well again late_rows=%d forgotten=%d", self._written, self.forgotten)
        self._written = 0

    async def _write_all(self) -> None:
        while self._rows:
            group = dict(islice(self._rows.items(), _AT_ONCE))
            try:
                await self._catalog.put_many(*group.values())
            except CatalogError as error:
                if not _is_refused(error) or not await self._write_each(group):
                    return
            else:
                self._done(group)

    async def _write_each(self, group: dict[_Key, Kept]) -> bool:
        """One of them can never be written: find it, so that the others are. False when all fail again."""
        for key, row in group.items():
            try:
                await self._catalog.put_many(row)
            except CatalogError as error:
                if not _is_refused(error):
                    return False
                _log.error("row not written kind=%s id=%s error=%s", key[0].__name__, key[1], error)
            self._done({key: row})
        return True

    def _done(self, group: dict[_Key, Kept]) -> None:
        for key, row in group.items():
            if self._rows.get(key) is row:
                del self._rows[key]
                self._written += 1


def _is_refused(error: CatalogError) -> bool:
    return isinstance(error, DatabaseError) and error.trouble is Trouble.REFUSED
