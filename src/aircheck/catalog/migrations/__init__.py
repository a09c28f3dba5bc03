"""Alembic revisions of the catalogue; run by `aircheck.catalog.migrate`."""
