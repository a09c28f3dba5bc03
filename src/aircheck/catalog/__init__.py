"""The catalogue: what there is, what it is called, where it lies, and what happened. In SQL."""

from aircheck.catalog.catalog import Catalog, Totals
from aircheck.catalog.page import CursorError, Page
from aircheck.catalog.trouble import DatabaseError, Trouble
from aircheck.catalog.writer import WriterCounters

__all__ = [
    "Catalog",
    "CursorError",
    "DatabaseError",
    "Page",
    "Totals",
    "Trouble",
    "WriterCounters",
]
