"""How answers look: tables and panels on a terminal, plain wide lines in a pipe."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from aircheck.errors import AircheckError
from aircheck.settings import Settings, SettingsError
from aircheck.settings.load import default_values
from aircheck.words import clock_time, file_size

if TYPE_CHECKING:
    from aircheck.faces.wcs.properties import ImportedSettings
    from aircheck.facts import RecordingFacts, SegmentFacts

_PIPED_WIDTH = 240
STATE_STYLES = {
    "recording": "bold red",
    "paused": "yellow",
    "finalizing": "yellow",
    "interrupted": "yellow",
    "complete": "green",
    "failed": "red",
}


def console(*, stderr: bool = False) -> Console:
    """Wide when nobody looks, so that lines stay whole and can be searched."""
    shown = Console(stderr=stderr, highlight=False)
    return shown if shown.is_terminal else Console(stderr=stderr, highlight=False, width=_PIPED_WIDTH)


def show_error(error: AircheckError) -> None:
    """What is wrong and what to do about it: a panel on a terminal, lines elsewhere."""
    if isinstance(error, SettingsError):
        complaints = [(str(problem), problem.remedy) for problem in error.problems]
    else:
        complaints = [(error.message, error.remedy)]
    out = console(stderr=True)
    if not out.is_terminal:
        for message, remedy in complaints:
            typer.echo(f"error: {message}" + (f"\n  {remedy}" if remedy else ""), err=True)
        return
    lines = [
        line for message, remedy in complaints for line in (Text(message), Text(remedy, "green")) if line
    ]
    title = "It cannot be done like this"
    out.print(Panel(Group(*lines), title=title, title_align="left", border_style="red"))


def show_certificate(cert: Path, key: Path) -> None:
    """The settings that put it to use, as they stand in a settings file."""
    typer.echo("# HTTPS on port 8444 of this machine; for the network set also [https] listen.")
    typer.echo("[tls]")
    for name, path in (("cert", cert), ("key", key)):
        typer.echo(f"{name} = {json.dumps(str(path), ensure_ascii=False)}")


def show_import(imported: ImportedSettings) -> None:
    """On standard error: what of another server's settings is not kept, and which were not looked at."""
    for warning in imported.warnings:
        typer.echo(f"warning: {warning}", err=True)
    if imported.others:
        names = ", ".join(imported.others)
        typer.echo(f"not read, as they have nothing to do with recordings: {names}", err=True)


STREAM_WIDTH = 32
"""Publishers choose their names; one long one leaves room for the rest of the table."""


def show_recordings(
    found: Sequence[tuple[RecordingFacts, tuple[SegmentFacts, ...]]], states: Sequence[str]
) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("started", no_wrap=True)
    table.add_column("stream", no_wrap=True, overflow="ellipsis", max_width=STREAM_WIDTH)
    table.add_column("state", no_wrap=True)
    for column in ("length", "size", "gaps"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("file", overflow="fold")
    for (facts, files), state in zip(found, states, strict=True):
        table.add_row(
            local_time(facts.start_ns),
            facts.stream_name,
            Text(state, style=STATE_STYLES.get(state, "")),
            clock_time(facts.duration_ms),
            file_size(facts.size_bytes),
            str(facts.gaps) if facts.gaps else "",
            _files(files) + (f"  {facts.error}" if facts.error else ""),
        )
    console().print(table)


def show_settings(settings: Settings) -> None:
    """Every setting in force; those that differ from their default stand out. Secrets stay hidden."""
    values, defaults = settings.model_dump(mode="json"), default_values()
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("setting", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("default", overflow="fold", style="dim")
    for section, keys in values.items():
        for key, value in keys.items():
            default, is_changed = defaults[section][key], value != defaults[section][key]
            shown = Text(json.dumps(value, ensure_ascii=False), style="bold" if is_changed else "")
            table.add_row(f"{section}.{key}", shown, json.dumps(default) if is_changed else "")
    console().print(table)


def local_time(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // 1_000_000_000).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _files(files: Sequence[SegmentFacts]) -> str:
    if not files:
        return ""
    others = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return files[0].file_name + others
