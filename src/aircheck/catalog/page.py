"""Page: a part of a long list, newest first, that holds still while rows are added.

A page is continued after its last row, not after a number of rows: the cursor names the time and id of that
row, so rows added or removed meanwhile neither repeat nor hide others.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import BigInteger, Column, Select, Text, literal, tuple_

from aircheck.errors import CatalogError

Item = TypeVar("Item")

MAX_PAGE = 1000
"""Rows of one page, whatever is asked for."""


class CursorError(CatalogError):
    """The caller's cursor is none that a page gave out."""

    def __init__(self, cursor: str) -> None:
        super().__init__(
            f"{cursor!r} is no cursor", remedy="pass on `next_cursor` of the page before, unchanged"
        )


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """`next_cursor` continues after the last item; None when there was no more at the time."""

    items: tuple[Item, ...]
    next_cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Keyset:
    """The order of a list: newest first by a time, then by id, which no two rows share."""

    time: Column[Any]
    id: Column[Any]

    def select(self, statement: Select[Any], cursor: str | None, limit: int) -> Select[Any]:
        """The rows of a page, and one more to know whether there is more. Raises `CursorError`."""
        if cursor is not None:
            time_ns, row_id = parse_cursor(cursor)
            last = tuple_(literal(time_ns, BigInteger), literal(row_id, Text))
            statement = statement.where(tuple_(self.time, self.id) < last)
        return statement.order_by(self.time.desc(), self.id.desc()).limit(clamp_limit(limit) + 1)

    def page(self, found: Sequence[Item], limit: int) -> Page[Item]:
        """The page of what `select` found."""
        items = tuple(found[: clamp_limit(limit)])
        if len(found) == len(items):
            return Page(items)
        last = items[-1]
        return Page(items, serialize_cursor(getattr(last, self.time.name), getattr(last, self.id.name)))


def clamp_limit(limit: int) -> int:
    return min(max(limit, 1), MAX_PAGE)


def serialize_cursor(time_ns: int, row_id: str = "") -> str:
    return urlsafe_b64encode(f"{time_ns}:{row_id}".encode()).decode().rstrip("=")


def parse_cursor(cursor: str) -> tuple[int, str]:
    """Time and id of the last row of a page. Raises `CursorError`."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        time_ns, separator, row_id = urlsafe_b64decode(padded).decode().partition(":")
        if not separator or not -(2**63) <= int(time_ns) < 2**63:
            raise CursorError(cursor)
        return int(time_ns), row_id
    except ValueError as error:
        raise CursorError(cursor) from error
