"""Database: one address, its connections for reading and for writing, and its errors in our words."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, StatementError
from sqlalchemy.ext.asyncio import AsyncConnection

from aircheck.catalog.backend import Backend, Purpose
from aircheck.catalog.migrate import migrate
from aircheck.catalog.postgresql import PostgresqlBackend
from aircheck.catalog.sqlite import SqliteBackend
from aircheck.catalog.trouble import DatabaseError, Trouble
from aircheck.errors import CatalogError

RETRY_S = 0.02

_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg"}


class Database:
    """Opened by `open`, whole and of the present schema. `close` gives every connection back."""

    def __init__(self, url: URL, busy_timeout_s: float) -> None:
        self.backend: Backend = SqliteBackend() if url.get_backend_name() == "sqlite" else PostgresqlBackend()
        is_file = url.get_backend_name() == "sqlite"
        self.name = str(url.database) if is_file else url.render_as_string(hide_password=True)
        self._url = url
        self._busy_timeout_s = busy_timeout_s
        self._reader = self.backend.engine(url, Purpose.READ, busy_timeout_s)
        self._writer = self.backend.engine(url, Purpose.WRITE, busy_timeout_s)

    @classmethod
    async def open(cls, url_or_path: str | Path, *, busy_timeout_s: float) -> Database:
        """Connect and bring the schema up to date. Raises `CatalogError`."""
        url = parse_address(url_or_path)
        try:
            database = cls(url, busy_timeout_s)
        except ModuleNotFoundError as error:
            raise CatalogError(
                f"the driver for {url.get_backend_name()} is not installed: {error.name}",
                remedy="pip install 'aircheck[postgresql]'",
            ) from error
        try:
            await database._migrate()
        except BaseException:
            await database.close()
            raise
        return database

    async def close(self) -> None:
        # Readers first: SQLite folds its log into the file when its last connection, which may write, closes.
        await self._reader.dispose()
        await self._writer.dispose()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection that sees one state of the database. Raises `DatabaseError`."""
        try:
            async with self._reader.connect() as connection:
                yield connection
        except CatalogError:
            raise
        except Exception as error:
            raise self.explain(error, "read") from error

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction: durable on leaving, rolled back on an error. Raises `DatabaseError`."""
        try:
            async with self._writer.begin() as connection:
                yield connection
        except Exception as error:
            raise self.explain(error, "write to") from error

    def explain(self, error: Exception, doing: str) -> DatabaseError:
        """An error of the database, its driver or SQLAlchemy, with its remedy."""
        cause = getattr(error, "orig", None) or error
        trouble = self.backend.trouble(cause)
        if trouble is Trouble.OTHER and isinstance(error, StatementError):
            # A value that the driver could not even send.
            trouble = Trouble.REFUSED
        return DatabaseError(f"cannot {doing} the catalogue {self.name}: {cause}", trouble)

    async def _migrate(self) -> None:
        """Bring the schema up to date. Switching to WAL does not wait for others who open it, so we do."""
        deadline_s = time.monotonic() + self._busy_timeout_s
        while True:
            try:
                await self._migrate_once()
                return
            except DatabaseError as error:
                if error.trouble is not Trouble.LOCKED or time.monotonic() > deadline_s:
                    raise
            await asyncio.sleep(RETRY_S)

    async def _migrate_once(self) -> None:
        engine = self.backend.engine(self._url, Purpose.MIGRATE, self._busy_timeout_s)
        try:
            async with engine.begin() as connection:
                await self.backend.lock_schema(connection)
                await connection.run_sync(migrate)
        except CatalogError:
            raise
        except Exception as error:
            raise self.explain(error, "open") from error
        finally:
            await engine.dispose()


def parse_address(url_or_path: str | Path) -> URL:
    """The address with the driver that we use; a path is a SQLite file. Raises `CatalogError`."""
    if isinstance(url_or_path, Path) or "://" not in url_or_path:
        return _file_url(Path(url_or_path))
    try:
        url = make_url(url_or_path)
    except ArgumentError as error:
        raise DatabaseError(f"{url_or_path!r} is no address of a database", Trouble.UNREACHABLE) from error
    driver = _DRIVERS.get(url.get_backend_name())
    if driver is None:
        raise CatalogError(
            f"the catalogue cannot be kept in {url.get_backend_name()}",
            remedy="name a file, or an address that begins with sqlite:/// or postgresql://",
        )
    return _file_url(Path(url.database or "")) if driver == _DRIVERS["sqlite"] else url.set(drivername=driver)


def _file_url(path: Path) -> URL:
    """A SQLite file. Its folder must be there: one that is missing may be a mount that has gone."""
    if path.name in ("", ":memory:"):
        raise DatabaseError("a catalogue in memory would not outlive the server", Trouble.UNREACHABLE)
    try:
        is_there = path.parent.is_dir()
        is_closed = path.exists() and not os.access(path, os.R_OK)
    except PermissionError:
        is_there = is_closed = True
    if not is_there:
        raise DatabaseError(f"the catalogue's folder {path.parent} does not exist", Trouble.UNREACHABLE)
    if is_closed:
        raise DatabaseError(f"the catalogue {path} may not be read by this user", Trouble.READ_ONLY)
    return URL.create(_DRIVERS["sqlite"], database=str(path))
