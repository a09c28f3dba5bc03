"""Making files whole that a crash left, and asking files what they are.

A file's first bytes tell its container; what is nothing else is asked whether it is MP4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aircheck.containers import flv, matroska, mpegts, remnant
from aircheck.containers.mp4 import recovery
from aircheck.containers.mp4.disk import Disk
from aircheck.containers.mp4.recovery import FileFacts, ForeignFileError, Outcome, Recovery
from aircheck.containers.mp4.scan import media_offset as mp4_media_offset
from aircheck.containers.mp4.scan import outline
from aircheck.media.track import Kind

__all__ = [
    "FileFacts",
    "FileStart",
    "ForeignFileError",
    "Outcome",
    "Recovery",
    "inspect_file",
    "media_offset",
    "read_note",
    "read_start",
    "recover_file",
    "scan_appended",
]


_FORMATS = (flv.FORMAT, matroska.FORMAT, mpegts.FORMAT)


def _format_of(path: Path) -> remnant.Format | None:
    with path.open("rb") as file:
        start = file.read(max(len(form.magic) for form in _FORMATS))
    return next((form for form in _FORMATS if start.startswith(form.magic)), None)


def inspect_file(path: Path, *, progress: Callable[[int, int], None] | None = None) -> FileFacts:
    """What the file says of itself. Reads the headers only; `progress` is told bytes done and bytes in all.

    Raises ForeignFileError for a file that is not ours, OSError when it cannot be read.
    """
    form = _format_of(path)
    return recovery.inspect(path, progress) if form is None else remnant.inspect(path, form, progress)


def read_note(path: Path) -> bytes:
    """The note that the file's writer was given. Raises ForeignFileError or OSError."""
    form = _format_of(path)
    return recovery.read_note(path) if form is None else remnant.read_note(path, form)


@dataclass(frozen=True, slots=True)
class FileStart:
    """When a file was begun, the stream's own time at the file's time 0, and how many tracks of pictures and
    sound it has."""

    creation_ns: int
    start_us: int
    tracks: int


def read_start(path: Path) -> FileStart:
    """What the file's header says of its beginning. Raises ForeignFileError or OSError."""
    form = _format_of(path)
    disk = Disk.open(path, writable=False)
    try:
        if form is not None and (header := form.read_header(disk)) is not None:
            tracks = sum(track.kind != Kind.DATA for track in header.record.tracks)
            return FileStart(header.record.creation_ns, header.record.start_us, tracks)
        moov = None if form is not None else outline(disk).moov
        if moov is None or not moov.has_note:
            raise ForeignFileError(f"{path} is no recording of this program")
        tracks = sum(track.codec.kind is not Kind.DATA for _, track in moov.traks)
        return FileStart(moov.facts.creation_ns, moov.facts.start_us, tracks)
    finally:
        disk.close()


def media_offset(fd: int) -> int:
    """Before this byte of a final file something is written when it goes on; behind it nothing ever is.

    0 for a file that is not ours: it does not go on. Reads a few headers. Raises OSError.
    """
    disk = Disk(fd)
    start = disk.read(0, max(len(form.magic) for form in _FORMATS))
    form = next((form for form in _FORMATS if start.startswith(form.magic)), None)
    if form is None:
        return mp4_media_offset(disk)
    header = form.read_header(disk)
    return header.size_bytes if header is not None else 0


def scan_appended(path: Path) -> remnant.Scan | None:
    """What is whole in one of our FLV, MPEG-TS or Matroska files; None for others. Raises OSError."""
    form = _format_of(path)
    disk = Disk.open(path, writable=False)
    try:
        header = form.read_header(disk) if form is not None else None
        return form.scan(disk, header, None) if form is not None and header is not None else None
    finally:
        disk.close()


def recover_file(
    path: Path,
    *,
    progress: Callable[[int, int], None] | None = None,
    sync: bool = True,
    force: bool = False,
    note: bytes | None = None,
) -> Recovery:
    """Make the file whole: cut what is torn at its end and finalize it. Does nothing to a final file.

    A file that is made final gets the `note` given, else it keeps its own. A foreign file is never touched;
    `force` takes the lack of our note for an accident. May be killed at any
    instant and called again. Raises OSError when the disk fails.
    """
    form = _format_of(path)
    if form is not None:
        return remnant.recover(path, form, progress=progress, sync=sync, note=note)
    return recovery.recover(path, progress=progress, sync=sync, force=force, note=note)
