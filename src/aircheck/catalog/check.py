"""Check: do files and rows agree? And repair: rows for the files that have none.

Two walks, each in small parts, so that neither the number of rows nor that of files matters:

1. Rows: a complete row has a file of its size; a growing one has a file that somebody is writing.
2. Files: each is exactly one of growing, awaiting finalize, catalogued, a kept clip, foreign; else it is a
   finding.

The server may go on recording meanwhile. Whatever looks wrong is looked at again with a fresh row, and what
changed within the last `stale_after_s` is taken for work in progress.

Repair only adds knowledge: it puts rows for files of ours that have none, and corrects the path of files that
were moved. It deletes no row and touches no file, because a file that is missing today may be on a disk that
is mounted tomorrow.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from aircheck.catalog.catalog import Catalog
from aircheck.catalog.findings import CheckReport, Finding, FindingKind
from aircheck.catalog.rebuild import (
    FileProbe,
    ProbedClip,
    ProbedFile,
    rebuild_recording,
    rebuild_segment,
    with_sums,
)
from aircheck.clock import Clock, SystemClock
from aircheck.errors import AircheckError, CatalogError
from aircheck.facts import RecordingFacts, SegmentFacts, SegmentState

_AT_ONCE = 500
_UNFINISHED = (SegmentState.GROWING, SegmentState.FINALIZING)

Progress = Callable[[int, int], None]
"""Told the rows and the files looked at so far."""

IsOwn = Callable[[Path], bool]
"""Whether a file is the server's own, and no recording: the database, a lock."""

IsWritten = Callable[[Path], bool]
"""Whether a file that has not grown for long is open for writing all the same. Called in a thread."""


def _never(_path: Path) -> bool:
    return False


async def check(
    catalog: Catalog,
    roots: Sequence[Path],
    probe: FileProbe,
    *,
    repair: bool = False,
    clips: Path | None = None,
    is_own: IsOwn = _never,
    is_written: IsWritten = _never,
    progress: Progress | None = None,
    stale_after_s: float = 60.0,
    clock: Clock | None = None,
) -> CheckReport:
    """Compare all rows with the disk and all files below `roots` (the record folders) with the rows.

    Clips are where they are; in `clips`, a folder for them that need not be there, files are only counted.
    Files for which `is_own` says so are left out. `stale_after_s` 0 means that no server runs: what is
    unfinished was left so.

    Raises `CatalogError` when the database fails or a root is not there: then everything would seem lost.
    """
    if gone := await asyncio.to_thread(lambda: [root for root in roots if not root.is_dir()]):
        raise CatalogError(
            f"the record folder {gone[0]} is not there", remedy="mount its disk, or correct the settings"
        )
    now_ns = (clock or SystemClock()).wall_ns()
    stale_before_ns = now_ns - round(stale_after_s * 1e9)
    run = _Check(catalog, probe, repair, progress, is_written, stale_before_ns=stale_before_ns)
    await run.rows()
    for root in _outermost(roots):
        await run.files(root, is_own)
    if clips is not None and set(roots).isdisjoint((clips, *clips.parents)):
        await run.clips(clips, lambda path: is_own(path) or not set(roots).isdisjoint(path.parents))
    run.report.findings += run.missing.values()
    return run.report


@dataclass(frozen=True, slots=True)
class _File:
    """A regular file below a root, as it was when the walk met it."""

    path: Path
    modified_ns: int

    @property
    def path_text(self) -> str:
        return str(self.path)

    @property
    def fits_a_row(self) -> bool:
        """Whether a row can hold its path. Python shows bytes that are no UTF-8 as lone surrogates."""
        return not any("\ud800" <= character <= "\udfff" for character in self.path_text)


@dataclass(frozen=True, slots=True)
class _Rebuilt:
    """A row that is missing, made from its file, and what the file's note says of its recording."""

    segment: SegmentFacts
    note: RecordingFacts


class _Check:
    """One run. `missing` are rows whose file was not where it should be; they may turn up as moved."""

    def __init__(
        self,
        catalog: Catalog,
        probe: FileProbe,
        repair: bool,
        progress: Progress | None,
        is_written: IsWritten,
        *,
        stale_before_ns: int,
    ) -> None:
        self.report = CheckReport()
        self.missing: dict[str, Finding] = {}
        self._catalog = catalog
        self._probe = probe
        self._repair = repair
        self._progress = progress
        self._is_written = is_written
        self._stale_before_ns = stale_before_ns

    async def rows(self) -> None:
        last_id = ""
        while rows := await self._catalog.segments_after(last_id, _AT_ONCE):
            for row in await asyncio.to_thread(self._suspicious, rows):
                await self._look_again(row)
            last_id = rows[-1].id
            self.report.rows += len(rows)
            self._tell()

    async def files(self, root: Path, is_own: IsOwn) -> None:
        walk = _walk(root, is_own)
        while files := await asyncio.to_thread(_take, walk):
            rows = await self._catalog.segments_at([file.path_text for file in files if file.fits_a_row])
            unknown: list[tuple[_File, ProbedFile]] = []
            for file in files:
                self.report.files += 1
                if (row := rows.get(file.path_text)) is not None:
                    await self._count(row, file)
                elif (probed := await self._look_into(file)) is not None:
                    unknown.append((file, probed))
            await self._place(root, unknown)
            self._tell()

    async def clips(self, folder: Path, is_left_out: IsOwn) -> None:
        """Recordings found here are not adopted: what lies outside of the record folders is not served."""
        walk = _walk(folder, is_left_out) if await asyncio.to_thread(folder.is_dir) else iter(())
        while files := await asyncio.to_thread(_take, walk):
            for file in files:
                self.report.files += 1
                if await self._look_into(file) is not None:
                    self.report.foreign += 1
            self._tell()

    def _suspicious(self, rows: Sequence[SegmentFacts]) -> list[SegmentFacts]:
        return [row for row in rows if self._judge(row) is not None]

    def _judge(self, row: SegmentFacts) -> Finding | None:
        """What is wrong with a row. Blocks: it asks the disk."""
        status = _status(row.path)
        if row.state is SegmentState.COMPLETE:
            if status is None:
                return _finding(FindingKind.MISSING_FILE, row, "the row is complete, the file is not there")
            if status.st_size != row.size_bytes:
                sizes = f"the file has {status.st_size} bytes, its row says {row.size_bytes}"
                return _finding(FindingKind.SIZE_MISMATCH, row, sizes)
        elif row.state in _UNFINISHED:
            if status is None and row.start_ns < self._stale_before_ns:
                return _finding(
                    FindingKind.MISSING_FILE, row, f"the row is {row.state}, the file is not there"
                )
            if status is not None and self._is_stale(Path(row.path), status.st_mtime_ns):
                return _finding(
                    FindingKind.STALE_ROW, row, "unfinished, and nobody writes it: a crash left it"
                )
        return None

    def _is_stale(self, path: Path, modified_ns: int) -> bool:
        """Whether nobody writes a file that is unfinished. Blocks: it may ask the disk."""
        return modified_ns < self._stale_before_ns and not self._is_written(path)

    async def _look_again(self, row: SegmentFacts) -> None:
        """With a fresh row: the recorder may have completed or renamed the segment just now."""
        fresh = await self._catalog.segment(row.id)
        finding = await asyncio.to_thread(self._judge, fresh) if fresh is not None else None
        if finding is None:
            return
        if finding.kind is FindingKind.MISSING_FILE:
            self.missing[row.id] = finding
        else:
            self.report.findings.append(finding)

    async def _count(self, row: SegmentFacts, file: _File) -> None:
        """A file that a row knows."""
        if row.state not in _UNFINISHED:
            self.report.catalogued += 1
        elif await asyncio.to_thread(self._is_stale, file.path, file.modified_ns):
            self.report.awaiting_finalize += 1
        else:
            self.report.growing += 1

    async def _look_into(self, file: _File) -> ProbedFile | None:
        """A file that no row knows by its path: ours, or counted as a clip, foreign, gone or unreadable."""
        try:
            probed = await asyncio.to_thread(self._probe.probe, file.path)
        except FileNotFoundError:
            self.report.files -= 1
            return None
        except (OSError, AircheckError) as error:
            self._fault(Finding(FindingKind.UNREADABLE_FILE, file.path_text, str(error)))
            return None
        if isinstance(probed, ProbedClip):
            self.report.clips += 1
            return None
        if probed is None:
            self.report.foreign += 1
        elif not file.fits_a_row:
            self._fault(
                Finding(FindingKind.UNREADABLE_FILE, file.path_text, "its name is not UTF-8: rename it")
            )
            return None
        return probed

    async def _place(self, root: Path, unknown: list[tuple[_File, ProbedFile]]) -> None:
        """Files of ours under paths that no row has: the same file by another name, moved, copied, or new."""
        new: dict[str, dict[str, _Rebuilt]] = defaultdict(dict)
        for file, probed in unknown:
            segment = rebuild_segment(file.path, root, probed)
            row = await self._catalog.segment(segment.id)
            if row is not None:
                await self._recorded_elsewhere(file, segment, row)
            elif not probed.is_final and file.modified_ns >= self._stale_before_ns:
                # Somebody is writing it. The recorder goes on without a row while the database is in trouble.
                self.report.growing += 1
            elif segment.id in new[segment.recording_id]:
                self._fault(_finding(FindingKind.COPIED_FILE, segment, "another file is the same segment"))
            else:
                new[segment.recording_id][segment.id] = _Rebuilt(segment, probed.recording)
        for recording_id, rebuilt in new.items():
            await self._unrecorded(recording_id, list(rebuilt.values()))

    async def _recorded_elsewhere(self, file: _File, segment: SegmentFacts, row: SegmentFacts) -> None:
        """A file whose segment has a row with another path."""
        if await asyncio.to_thread(_is_same_file, file.path, row.path):
            await self._count(row, file)
        elif row.id in self.missing:
            await self._moved(row, segment)
        elif row.state in _UNFINISHED:
            # It has its final name; its row is about to follow.
            await self._count(row, file)
        else:
            self._fault(_finding(FindingKind.COPIED_FILE, segment, f"the same segment as {row.path}"))

    async def _moved(self, row: SegmentFacts, segment: SegmentFacts) -> None:
        del self.missing[row.id]
        finding = _finding(FindingKind.MOVED_FILE, segment, f"its row looks for it at {row.path}")
        if not self._repair:
            return self._fault(finding)
        if row.state is SegmentState.COMPLETE:
            segment = replace(row, path=segment.path, file_name=segment.file_name)
        await self._catalog.put_segment(segment)
        return self._repaired(finding, segment)

    async def _unrecorded(self, recording_id: str, found: Sequence[_Rebuilt]) -> None:
        """Segments of one recording that have no row; perhaps the recording has none either."""
        if self._repair:
            await self._put(recording_id, found)
        for rebuilt in found:
            finding = _finding(FindingKind.UNRECORDED_FILE, rebuilt.segment, "a file of ours without a row")
            if self._repair:
                self._repaired(finding, rebuilt.segment)
            else:
                self._fault(finding)

    async def _put(self, recording_id: str, found: Sequence[_Rebuilt]) -> None:
        segments = [rebuilt.segment for rebuilt in found]
        everything = (*await self._catalog.segments(recording_id), *segments)
        row = await self._catalog.recording(recording_id)
        newest = max(found, key=lambda rebuilt: rebuilt.segment.start_ns)
        recording = with_sums(row, everything) if row else rebuild_recording(newest.note, everything)
        await self._catalog.put_many(recording, *segments)

    def _fault(self, finding: Finding) -> None:
        self.report.at_fault += 1
        self.report.findings.append(finding)

    def _repaired(self, finding: Finding, segment: SegmentFacts) -> None:
        if segment.state is SegmentState.COMPLETE:
            self.report.catalogued += 1
        else:
            self.report.awaiting_finalize += 1
        self.report.findings.append(replace(finding, is_repaired=True))

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(self.report.rows, self.report.files)


def _finding(kind: FindingKind, segment: SegmentFacts, message: str) -> Finding:
    return Finding(kind, segment.path, message, segment.id, segment.recording_id)


def _walk(root: Path, is_own: IsOwn) -> Iterator[_File]:
    """Regular files, also hidden ones. Links are not followed: what they point to is not ours to judge."""
    for folder, _, names in os.walk(root, onerror=_raise):
        for name in names:
            path = Path(folder, name)
            if not is_own(path) and (status := _status(path)) is not None:
                yield _File(path, status.st_mtime_ns)


def _take(walk: Iterator[_File]) -> list[_File]:
    return list(islice(walk, _AT_ONCE))


def _raise(error: OSError) -> None:
    raise CatalogError(
        f"cannot list {error.filename}: {error.strerror}",
        remedy="give the server's user the right to read the record folders",
    ) from error


def _status(path: str | Path) -> os.stat_result | None:
    """Of a regular file; None if there is none."""
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def _is_same_file(path: Path, other: str) -> bool:
    """Whether both names lead to one file: a hard link, or a folder that is reached through a link."""
    try:
        return path.samefile(other)
    except OSError:
        return False


def _outermost(roots: Sequence[Path]) -> list[Path]:
    """The roots that are not inside another one, so that no file is met twice."""
    unique = list(dict.fromkeys(roots))
    return [root for root in unique if not any(other in root.parents for other in unique)]
