"""The schema is commented, has the facts' fields, and its page is current."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from aircheck.catalog.postgresql import PostgresqlBackend
from aircheck.catalog.reference import reference
from aircheck.catalog.rows import TABLES
from aircheck.catalog.schema import metadata

PAGE = Path(__file__).parents[2] / "docs/reference/catalogue.md"


def test_the_reference_page_is_current() -> None:
    assert PAGE.read_text("utf-8") == reference(), "python -m aircheck.catalog.reference > " + str(PAGE)


@pytest.mark.parametrize(("kind", "table"), TABLES.items())
def test_each_field_of_the_facts_has_its_column(kind: type[Any], table: Table) -> None:
    assert {field.name for field in fields(kind)} == set(table.c.keys())


@pytest.mark.parametrize("table", metadata.tables.values(), ids=str)
def test_each_table_and_column_is_explained_with_its_unit(table: Table) -> None:
    assert table.comment
    units = {"_ns": "ns", "_ms": "ms", "_bytes": "bytes"}
    for column in table.c:
        assert column.comment, column
        unit = next((unit for ending, unit in units.items() if column.name.endswith(ending)), "")
        assert unit in column.comment, column


@pytest.mark.parametrize("table", metadata.tables.values(), ids=str)
def test_the_same_schema_and_upsert_suit_postgresql(table: Table) -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    assert "id BIGSERIAL" in str(CreateTable(table).compile(dialect=dialect)) or table.name != "events"
    upsert = str(PostgresqlBackend().upsert(table).compile(dialect=dialect))
    assert "ON CONFLICT (id) DO UPDATE SET" in upsert
