"""Writer: group commit. Whoever writes waits for one commit, but all who wait at the same time share it.

One task takes what was queued within the last milliseconds and writes it in one transaction, so that a
thousand streams that rotate in the same second cost a handful of commits (and syncs of the disk), not
thousands. Within a group the last value of a row wins, parents go before children, and rows travel by
`executemany`.

A change is whole or not there at all. When the database refuses one, the group is written again one by one,
so that nobody fails for a neighbour; when it fails for all (locked, disk full), all are told, the failure is
counted, and the task goes on with the next group.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Table, bindparam, delete, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from aircheck.catalog import schema
from aircheck.catalog.database import Database
from aircheck.catalog.rows import Row
from aircheck.catalog.trouble import DatabaseError, Trouble

_log = logging.getLogger(__name__)

_GATHER_S = 0.003
"""How long a group waits for company: less than the sync of a disk, more than one turn of a busy loop."""
_MAX_GROUP = 1000
"""Changes in one transaction, so that none keeps other nodes out for long."""

_PARENTS_FIRST = (schema.streams, schema.recordings, schema.segments)
_FORGET = delete(schema.recordings).where(schema.recordings.c.id == bindparam("forgotten_id"))
_APPEND = insert(schema.events).returning(schema.events.c.id, sort_by_parameter_order=True)


@dataclass(slots=True)
class Change:
    """What one caller wants written, all or nothing: rows put, events added, recordings forgotten."""

    rows: list[tuple[Table, Row]] = field(default_factory=list)
    events: list[Row] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)


@dataclass(slots=True)
class WriterCounters:
    """For the metrics. Latency is from the begin of a transaction to its commit."""

    commits: int = 0
    changes: int = 0
    errors: Counter[Trouble] = field(default_factory=Counter)
    last_error: str = ""
    last_commit_s: float = 0.0
    max_commit_s: float = 0.0


@dataclass(slots=True)
class _Queued:
    change: Change
    done: asyncio.Future[list[int]]

    def succeed(self, event_ids: list[int]) -> None:
        if not self.done.done():
            self.done.set_result(event_ids)

    def fail(self, error: DatabaseError) -> None:
        if not self.done.done():
            # Its own exception for each: a raised one collects the traceback of whoever awaits it.
            self.done.set_exception(DatabaseError(error.message, error.trouble))


class Writer:
    """Owns the task that writes. Made on the loop; `close` writes what is queued and ends the task."""

    def __init__(self, database: Database) -> None:
        self.counters = WriterCounters()
        self._database = database
        self._queue: list[_Queued] = []
        self._wake = asyncio.Event()
        self._is_closing = False
        self._failures_in_a_row = 0
        self._task = asyncio.create_task(self._run(), name="catalog-writer")

    async def write(self, change: Change) -> list[int]:
        """Return when the change is committed, with the ids of its events. Raises `DatabaseError`.

        A caller that is cancelled gives up waiting; the change is written all the same.
        """
        if self._is_closing:
            raise DatabaseError("the catalogue is closed", Trouble.CLOSED)
        queued = _Queued(change, asyncio.get_running_loop().create_future())
        self._queue.append(queued)
        self._wake.set()
        return await queued.done

    async def close(self) -> None:
        self._is_closing = True
        self._wake.set()
        await self._task

    async def _run(self) -> None:
        while not (self._is_closing and not self._queue):
            await self._wake.wait()
            if not self._is_closing:
                await asyncio.sleep(_GATHER_S)
            group, self._queue = self._queue[:_MAX_GROUP], self._queue[_MAX_GROUP:]
            if not self._queue and not self._is_closing:
                self._wake.clear()
            if group:
                await self._commit(group)

    async def _commit(self, group: Sequence[_Queued]) -> None:
        try:
            event_ids = await self._transact([queued.change for queued in group])
        except DatabaseError as error:
            if error.trouble is Trouble.REFUSED and len(group) > 1:
                for queued in group:
                    await self._commit([queued])
            else:
                self._fail(group, error)
            return
        for queued in group:
            own, event_ids = event_ids[: len(queued.change.events)], event_ids[len(queued.change.events) :]
            queued.succeed(own)

    def _fail(self, group: Sequence[_Queued], error: DatabaseError) -> None:
        self.counters.errors[error.trouble] += 1
        self.counters.last_error = error.message
        self._failures_in_a_row += 1
        if self._failures_in_a_row == 1 or self._failures_in_a_row % 100 == 0:
            changes, trouble = len(group), error.trouble
            _log.error("catalogue write failed changes=%d trouble=%s error=%s", changes, trouble, error)
        for queued in group:
            queued.fail(error)

    async def _transact(self, changes: Sequence[Change]) -> list[int]:
        started_s = time.monotonic()
        async with self._database.writing() as connection:
            await self._put_and_forget(connection, changes)
            event_ids = await self._append(connection, [row for change in changes for row in change.events])
        self._failures_in_a_row = 0
        self.counters.commits += 1
        self.counters.changes += len(changes)
        self.counters.last_commit_s = taken_s = time.monotonic() - started_s
        self.counters.max_commit_s = max(self.counters.max_commit_s, taken_s)
        return event_ids

    async def _put_and_forget(self, connection: AsyncConnection, changes: Sequence[Change]) -> None:
        pending: dict[Table, dict[str, Row]] = {table: {} for table in _PARENTS_FIRST}
        for change in changes:
            for table, row in change.rows:
                pending[table][row["id"]] = row
            if change.forgotten:
                await self._put(connection, pending)
                await connection.execute(_FORGET, [{"forgotten_id": each} for each in change.forgotten])
        await self._put(connection, pending)

    async def _put(self, connection: AsyncConnection, pending: dict[Table, dict[str, Row]]) -> None:
        for table, rows in pending.items():
            if rows:
                await connection.execute(self._database.backend.upsert(table), list(rows.values()))
                rows.clear()

    async def _append(self, connection: AsyncConnection, rows: list[Row]) -> list[int]:
        if not rows:
            return []
        await self._database.backend.lock_events(connection)
        return list((await connection.execute(_APPEND, rows)).scalars())
