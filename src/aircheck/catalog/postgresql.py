"""PostgreSQL, by psycopg 3: one catalogue for many nodes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from aircheck.catalog.backend import Purpose, dump_json, replace_on_conflict
from aircheck.catalog.trouble import Trouble

_READERS = 4
_EVENTS_LOCK = 0x61697263_65767473
_SCHEMA_LOCK = 0x61697263_73636865
"""Advisory locks have numbers; these spell "aircevts" and "aircsche", which nobody else will choose."""

_TROUBLES = {
    "08": Trouble.UNREACHABLE,
    "22": Trouble.REFUSED,
    "23": Trouble.REFUSED,
    "25006": Trouble.READ_ONLY,
    "28": Trouble.DENIED,
    "3D": Trouble.UNREACHABLE,
    "40": Trouble.LOCKED,
    "42501": Trouble.DENIED,
    "53100": Trouble.DISK_FULL,
    "53": Trouble.UNREACHABLE,
    "55": Trouble.LOCKED,
    "57": Trouble.UNREACHABLE,
    "58": Trouble.DISK_ERROR,
    "XX": Trouble.CORRUPT,
}
"""By SQLSTATE or its class (the first two characters); the longer one is looked up first."""


class PostgresqlBackend:
    def engine(self, url: URL, purpose: Purpose, busy_timeout_s: float) -> AsyncEngine:
        options = f"-c lock_timeout={round(busy_timeout_s * 1000)}"
        return create_async_engine(
            url,
            connect_args={"options": options},
            isolation_level="REPEATABLE READ" if purpose is Purpose.READ else "READ COMMITTED",
            pool_size=_READERS if purpose is Purpose.READ else 1,
            max_overflow=0,
            # A connection that died while idle is replaced instead of failing the first who uses it.
            pool_pre_ping=True,
            json_serializer=dump_json,
        )

    def upsert(self, table: Table) -> Any:
        return replace_on_conflict(insert(table), table)

    async def lock_events(self, connection: AsyncConnection) -> None:
        await connection.execute(select(func.pg_advisory_xact_lock(_EVENTS_LOCK)))

    async def lock_schema(self, connection: AsyncConnection) -> None:
        await connection.execute(select(func.pg_advisory_xact_lock(_SCHEMA_LOCK)))

    def trouble(self, error: BaseException) -> Trouble:
        state = getattr(error, "sqlstate", None)
        if state is None:
            # No answer of the server at all: psycopg raises OperationalError without a state.
            return Trouble.UNREACHABLE if type(error).__name__ == "OperationalError" else Trouble.OTHER
        return _TROUBLES.get(state) or _TROUBLES.get(state[:2], Trouble.OTHER)
