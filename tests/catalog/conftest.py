"""A catalogue of its own for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from aircheck.catalog import Catalog


@pytest_asyncio.fixture
async def catalog(tmp_path: Path) -> AsyncIterator[Catalog]:
    opened = await Catalog.open(tmp_path / "catalogue.db", busy_timeout_s=0.3)
    yield opened
    await opened.close()
