"""The `aircheck` command: settings in, one call into the house, and what came of it shown."""

from aircheck.cli.commands import app, main

__all__ = ["app", "main"]
