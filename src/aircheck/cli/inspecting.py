"""`aircheck inspect`: the files that are meant are found and surveyed, with a bar if it takes a while."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from aircheck.catalog import Catalog
from aircheck.cli.inspection import Inspection, Progress, find_recording, inspect_path, inspect_segments
from aircheck.cli.paths import exists
from aircheck.cli.views import console
from aircheck.errors import ConfigError, ContainerError
from aircheck.facts import RecordingFacts, SegmentFacts


def inspect_target(target: str, catalog_path: Path) -> Inspection:
    """What is on the disk under that path wins; all else is looked up in the catalogue.

    Raises ConfigError when there is neither, ContainerError for a file that cannot be read.
    """
    with _bar() as progress:
        if exists(path := Path(target)):
            return _inspect_file(path, progress)
        recording, segments = find_in_catalogue(target, catalog_path)
        return inspect_segments(recording, segments, progress)


def _inspect_file(path: Path, progress: Progress) -> Inspection:
    try:
        return inspect_path(path, progress)
    except OSError as error:
        raise ContainerError(
            f"{path} cannot be read: {error.strerror or error}", remedy="look at its permissions and its disk"
        ) from error


def find_in_catalogue(wanted: str, catalog_path: Path) -> tuple[RecordingFacts, tuple[SegmentFacts, ...]]:
    # Looking must not create a catalogue.
    found = asyncio.run(_find(wanted, catalog_path)) if exists(catalog_path) else None
    if found is None:
        raise ConfigError(
            f"there is no file {wanted}, and no recording of that id or name",
            remedy="`aircheck ls` lists the files of recordings, with `--json` the ids too",
        )
    if not found[1]:
        raise ConfigError(f"the recording {wanted} has no files", remedy="its media never came")
    return found


async def _find(wanted: str, catalog_path: Path) -> tuple[RecordingFacts, tuple[SegmentFacts, ...]] | None:
    catalog = await Catalog.open(catalog_path)
    try:
        return await find_recording(catalog, wanted)
    finally:
        await catalog.close()


@contextmanager
def _bar() -> Iterator[Progress]:
    out = console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with ProgressBar(*columns, console=out, transient=True, disable=not out.is_terminal) as bar:
        tasks = {}

        def progress(path: Path, done: int, total: int) -> None:
            if path not in tasks:
                tasks[path] = bar.add_task(path.name)
            bar.update(tasks[path], completed=done, total=total)

        yield progress
