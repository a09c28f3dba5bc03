"""SQLite: the embedded default. The only place with SQL that nobody else understands.

Journal and durability: write-ahead log with `synchronous=FULL`, which syncs the log at every commit. `NORMAL`
would not, and a power cut could take back the last commits: a file would have its final name while its row
says growing, and a hook would run twice. The sync is paid per group of writes (see `writer`), not per row.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from sqlalchemy import Connection, Table, event
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from aircheck.catalog.backend import Purpose, dump_json, replace_on_conflict
from aircheck.catalog.trouble import Trouble

_READERS = 4
"""Threads that may read at the same time; more would only wait for the same two or four cores."""

_PRAGMAS = {
    Purpose.READ: ("PRAGMA query_only = ON",),
    Purpose.WRITE: ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "PRAGMA foreign_keys = ON"),
    # Alembic changes a table by copying it and dropping the old one: that must not cascade.
    Purpose.MIGRATE: ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "PRAGMA foreign_keys = OFF"),
}

_TROUBLES = {
    "SQLITE_BUSY": Trouble.LOCKED,
    "SQLITE_LOCKED": Trouble.LOCKED,
    "SQLITE_FULL": Trouble.DISK_FULL,
    "SQLITE_IOERR": Trouble.DISK_ERROR,
    "SQLITE_CORRUPT": Trouble.CORRUPT,
    "SQLITE_NOTADB": Trouble.CORRUPT,
    "SQLITE_READONLY": Trouble.READ_ONLY,
    "SQLITE_CANTOPEN": Trouble.UNREACHABLE,
    "SQLITE_PERM": Trouble.DENIED,
    "SQLITE_AUTH": Trouble.DENIED,
    "SQLITE_CONSTRAINT": Trouble.REFUSED,
}


class SqliteBackend:
    def engine(self, url: URL, purpose: Purpose, busy_timeout_s: float) -> AsyncEngine:
        engine = create_async_engine(
            url,
            connect_args={"timeout": busy_timeout_s},
            pool_size=_READERS if purpose is Purpose.READ else 1,
            max_overflow=0,
            json_serializer=dump_json,
        )
        _prepare_connections(engine, _PRAGMAS[purpose])
        # A writer takes the lock at once: one that began by reading could not wait for it any more.
        _begin_by(engine, "BEGIN" if purpose is Purpose.READ else "BEGIN IMMEDIATE")
        return engine

    def upsert(self, table: Table) -> Any:
        return replace_on_conflict(insert(table), table)

    async def lock_events(self, connection: AsyncConnection) -> None:
        """`BEGIN IMMEDIATE` has locked all."""

    async def lock_schema(self, connection: AsyncConnection) -> None:
        """`BEGIN IMMEDIATE` has locked all."""

    def trouble(self, error: BaseException) -> Trouble:
        if not isinstance(error, sqlite3.Error):
            return Trouble.OTHER
        name = getattr(error, "sqlite_errorname", "")
        # Extended codes have their primary one as a prefix: SQLITE_IOERR_FSYNC.
        return next((_TROUBLES[code] for code in _TROUBLES if name.startswith(code)), Trouble.OTHER)


def _prepare_connections(engine: AsyncEngine, pragmas: tuple[str, ...]) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        # The driver would begin transactions itself, but neither at once nor before DDL: we do (`_begin_by`).
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(pragma)
        cursor.close()


def _begin_by(engine: AsyncEngine, statement: str) -> None:
    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(statement)
