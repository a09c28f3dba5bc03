"""Reference: the schema's comments as a page, `docs/reference/catalogue.md`.

    python -m aircheck.catalog.reference > docs/reference/catalogue.md

A test fails while the page is not what this prints.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator

from sqlalchemy import Column, Table

from aircheck.catalog import schema
from aircheck.catalog.migrate import newest_version


def reference() -> str:
    """The page, in Markdown."""
    return "\n".join(_page()) + "\n"


def _page() -> Iterator[str]:
    title, _, promises = inspect.cleandoc(schema.__doc__ or "").partition("\n\n")
    yield "# The catalogue"
    yield ""
    yield "<!-- Made by `python -m aircheck.catalog.reference` from the schema's comments. Edit those. -->"
    yield ""
    yield f"{title.replace('The schema: what', 'What')} This is schema {newest_version()}."
    yield ""
    yield promises
    for table in schema.metadata.tables.values():
        yield ""
        yield from _table(table)


def _table(table: Table) -> Iterator[str]:
    yield f"## {table.name}"
    yield table.comment or ""
    yield ""
    yield "| column | type | meaning |"
    yield "|---|---|---|"
    for column in table.columns:
        yield f"| `{column.name}` | {_type(column)} | {(column.comment or '').replace('|', chr(92) + '|')} |"
    yield ""
    indexes = sorted(", ".join(f"`{column.name}`" for column in index.columns) for index in table.indexes)
    yield f"Indexed by {'; '.join(indexes)}."


def _type(column: Column[object]) -> str:
    words = [str(column.type).lower()]
    if column.primary_key:
        words.append("key")
    words.extend(f"→ `{key.target_fullname}`" for key in column.foreign_keys)
    if column.nullable:
        words.append("or null")
    return " ".join(words)


if __name__ == "__main__":
    sys.stdout.write(reference())
