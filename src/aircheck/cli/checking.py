"""`aircheck check`: whether files and catalogue agree, and rows for the files that have none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rich.text import Text

from aircheck.catalog import Catalog
from aircheck.catalog.check import check
from aircheck.catalog.findings import CheckReport, Finding
from aircheck.catalog.rebuild import ProbedClip, ProbedFile
from aircheck.cli.recovering import is_being_written
from aircheck.cli.views import console
from aircheck.clip_note import decode_clip_note
from aircheck.containers.recover import ForeignFileError, inspect_file
from aircheck.recording.folder_lock import LOCK_NAME, FolderLock
from aircheck.segment_note import NoteError, decode_note
from aircheck.settings import Settings
from aircheck.settings.recording import HIDDEN_FOLDER

_QUIET_S = 60.0
"""So long a running server may leave a file alone that it records into."""


class MediaProbe:
    """Tells the catalogue what a media file is, by its own words and its note."""

    def probe(self, path: Path) -> ProbedFile | ProbedClip | None:
        try:
            file = inspect_file(path)
            if decode_clip_note(file.note) is not None:
                return ProbedClip()
            recording, segment = decode_note(file.note)
        except (ForeignFileError, NoteError):
            return None
        return ProbedFile(
            recording,
            segment,
            is_final=file.is_final,
            size_bytes=file.size_bytes,
            duration_ms=file.duration_ms,
            tracks=file.tracks,
        )


async def check_recordings(settings: Settings, *, repair: bool) -> bool:
    """Compare, show what was found, and say whether nothing is left to do. Raises CatalogError."""
    record = settings.record
    roots = [folder.absolute() for folder in (record.dir, record.tmp_dir) if folder is not None]
    settings.catalog_path.parent.mkdir(parents=True, exist_ok=True)
    catalog = await Catalog.open(settings.catalog_path)
    try:
        report = await check(
            catalog,
            roots,
            MediaProbe(),
            repair=repair,
            clips=settings.clips.dir.absolute() if settings.clips.dir is not None else None,
            is_own=_own_files(settings),
            is_written=_is_written,
            stale_after_s=_QUIET_S if FolderLock.is_held(record.own_folders, settings.catalog.path) else 0,
        )
    finally:
        await catalog.close()
    _show(report)
    return report.is_clean


def _is_written(path: Path) -> bool:
    """Whether somebody has it open for writing: a recording that is paused, or whose publisher is lost."""
    try:
        return is_being_written(path)
    except OSError:
        return False


def _own_files(settings: Settings) -> Callable[[Path], bool]:
    """The catalogue, locks, and notes of hooks that wait."""
    catalog = settings.catalog_path.absolute()
    hidden = settings.record.dir.absolute() / HIDDEN_FOLDER
    locks = {folder.absolute() / LOCK_NAME for folder in settings.record.own_folders}

    def is_own(path: Path) -> bool:
        is_of_catalog = path.parent == catalog.parent and path.name.startswith(catalog.name)
        return is_of_catalog or path in locks or hidden / "hooks" in path.parents

    return is_own


def _show(report: CheckReport) -> None:
    out = console()
    for finding in report.findings:
        out.print(_line(finding))
    out.print(
        f"{report.rows} rows, {report.files} files: {report.catalogued} catalogued, {report.growing} growing,"
        f" {report.awaiting_finalize} to be finished, {report.clips} clips, {report.foreign} not ours,"
        f" {report.at_fault} at fault"
    )


def _line(finding: Finding) -> Text:
    state = Text("repaired  ", "green") if finding.is_repaired else Text("found     ", "bold red")
    remedy = "" if finding.is_repaired else f"\n          {finding.remedy}"
    return state.append(f"{finding.path}: {finding.message}", "").append(remedy, "green")
