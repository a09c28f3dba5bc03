"""Pages: a part of a long list, and where the next part begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from aircheck.facts import RecordingState

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Items in order, and the cursor that asks for those behind them; None at the end.

    A cursor names the last item, not a count: rows that come or go in between neither repeat nor hide others.
    """

    items: tuple[T, ...]
    next_cursor: str | None = None


@dataclass(frozen=True, slots=True)
class RecordingFilter:
    """Which recordings: all conditions that are given must hold. Times are of the start: [since, until)."""

    stream_name: str | None = None
    app: str | None = None
    state: RecordingState | None = None
    since_ns: int | None = None
    until_ns: int | None = None
