"""Facts to rows and back. Columns have the names of the fields, so nearly all is the same for every table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from sqlalchemy import RowMapping, Table

from aircheck.catalog import schema
from aircheck.errors import CatalogError
from aircheck.facts import Event, RecordingFacts, SegmentFacts, StreamFacts
from aircheck.plain import from_plain, plain_value

Row = dict[str, Any]
"""Column name → value that the driver takes."""

Kept = StreamFacts | RecordingFacts | SegmentFacts
KeptT = TypeVar("KeptT", StreamFacts, RecordingFacts, SegmentFacts, Event)

TABLES: Mapping[type[Any], Table] = {
    StreamFacts: schema.streams,
    RecordingFacts: schema.recordings,
    SegmentFacts: schema.segments,
    Event: schema.events,
}
_NAMES = {kind: tuple(field.name for field in fields(kind)) for kind in TABLES}


def to_row(facts: Kept | Event) -> Row:
    """Every field; enums by value, tracks and gaps as plain JSON values. A new event has no id."""
    row = {name: plain_value(getattr(facts, name)) for name in _NAMES[type(facts)]}
    if isinstance(facts, Event):
        row["facts"] = dict(facts.facts)
        if not facts.id:
            del row["id"]
    return row


def from_row(kind: type[KeptT], row: RowMapping) -> KeptT:
    """The facts that were put. Raises `CatalogError` when somebody else wrote the row."""
    try:
        return from_plain(kind, row)
    except ValueError as error:
        raise CatalogError(
            f"the catalogue's row {row.get('id')!r} of {TABLES[kind].name} cannot be understood: {error}",
            remedy="delete the row; that of a segment can be rebuilt from its file by check with repair",
        ) from error
