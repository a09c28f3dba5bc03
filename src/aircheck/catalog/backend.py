"""Backend: what differs between the databases that can hold the catalogue. All else is portable SQL."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any, Protocol

from sqlalchemy import Table
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from aircheck.catalog.trouble import Trouble


class Purpose(Enum):
    """What an engine's connections are for."""

    READ = "read"
    WRITE = "write"
    MIGRATE = "migrate"


class Backend(Protocol):
    def engine(self, url: URL, purpose: Purpose, busy_timeout_s: float) -> AsyncEngine:
        """Connections for a purpose. None waits longer than `busy_timeout_s` for another's lock.

        A commit of WRITE returns when it would survive a power cut. READ sees one state of the database
        from its first query to its end. MIGRATE may change the schema, all of it or nothing.
        """
        ...

    def upsert(self, table: Table) -> Any:
        """`INSERT` of whole rows; a row whose `id` is there already is replaced."""
        ...

    async def lock_events(self, connection: AsyncConnection) -> None:
        """From now to the end of the transaction, nobody else adds events: ids become visible in order."""
        ...

    async def lock_schema(self, connection: AsyncConnection) -> None:
        """From now to the end of the transaction, nobody else migrates."""
        ...

    def trouble(self, error: BaseException) -> Trouble:
        """What an error of the driver means."""
        ...


def replace_on_conflict(statement: Any, table: Table) -> Any:
    """An `INSERT` (SQLite's and PostgreSQL's agree here) that replaces the row of the same `id`."""
    new = {column.name: statement.excluded[column.name] for column in table.c if column.name != "id"}
    return statement.on_conflict_do_update(index_elements=[table.c.id], set_=new)


def dump_json(value: Any) -> str:
    """How JSON columns are written: short. Raises ValueError for NaN, TypeError for what is no JSON value."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
