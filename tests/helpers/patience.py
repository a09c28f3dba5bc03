"""Waiting for what must come. The bound is there for what hangs, and says nothing about speed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

PATIENCE_S = 60.0
"""Longer than a machine takes that does a lot of other work meanwhile."""


async def until(condition: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
    """Return once the condition is true. Raises TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
