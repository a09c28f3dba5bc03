"""What a file of ours is, and how one that a crash left behind becomes final.

Every step may be the last here as well: recovery of a recovery does what is left to do.
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from aircheck.containers.mp4 import timeline
from aircheck.containers.mp4.boxes import Span, find
from aircheck.containers.mp4.disk import Disk
from aircheck.containers.mp4.finalize import Method, Target, finalize, temporary_path
from aircheck.containers.mp4.index import TrackHeader
from aircheck.containers.mp4.layout import FREE_OFFSET, free_header
from aircheck.containers.mp4.movie import Movie, MovieFacts
from aircheck.containers.mp4.scan import (
    DAMAGE,
    Condition,
    Contents,
    Moov,
    Outline,
    Progress,
    outline,
    read_contents,
    reopened,
)
from aircheck.errors import ContainerError
from aircheck.facts import TrackFacts

_MAX_FIRST_FRAGMENT = 16 << 20


class ForeignFileError(ContainerError):
    """Not a file that we wrote, or nothing of it is left."""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a file says of itself. `is_final` is False for a growing file and for one that a crash left.

    `note` is what its writer was given, `start_ms` the stream's own time at the file's time 0.
    """

    is_final: bool
    size_bytes: int
    duration_ms: int
    tracks: tuple[TrackFacts, ...]
    note: bytes
    creation_ns: int
    start_ms: int


class Outcome(StrEnum):
    FINAL = "final"
    """It was whole already."""
    RECOVERED = "recovered"
    EMPTY = "empty"
    """Ours, but without a single whole fragment; left as it is."""
    FOREIGN = "foreign"
    """Not ours; left as it is."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """What recovery did. `how` is None when there was nothing to do, `fragmented` when there was no space."""

    outcome: Outcome
    bytes_kept: int
    bytes_cut: int
    facts: FileFacts | None = None
    how: Method | None = None
    bytes_skipped: int = 0
    """Damaged bytes between whole fragments; they stay in the file, unused."""


def inspect(path: Path, progress: Progress | None = None) -> FileFacts:
    """Facts of a final, growing or torn file. Raises ForeignFileError, or OSError when it cannot be read."""
    disk = Disk.open(path, writable=False)
    try:
        file = outline(disk)
        moov = _require_ours(path, file)
        if file.condition is Condition.FINAL and file.is_torn:
            file = reopened(disk, file)
            _require_ours(path, file)
        if file.condition is Condition.FINAL:
            return _final_facts(file, moov)
        return _fragmented_facts(file, read_contents(disk, file, progress))
    except DAMAGE as error:
        raise ForeignFileError(f"{path} is damaged: {error}") from error
    finally:
        disk.close()


def read_note(path: Path) -> bytes:
    """The note that the file's writer was given. Raises ForeignFileError or OSError."""
    disk = Disk.open(path, writable=False)
    try:
        file = outline(disk)
        return _require_ours(path, file).facts.note
    finally:
        disk.close()


def _require_ours(path: Path, file: Outline) -> Moov:
    if file.moov is None or not file.moov.has_note:
        raise ForeignFileError(f"{path} is no recording of this program, or nothing of it was written")
    return file.moov


def recover(
    path: Path,
    *,
    progress: Progress | None = None,
    sync: bool = True,
    force: bool = False,
    note: bytes | None = None,
) -> Recovery:
    """Make the file final: cut what is not whole, then finalize. Idempotent.

    `force` also recovers files that lack our note but are laid out as ours. A file that is made final gets
    the `note` given, else it keeps its own. Raises OSError when the disk fails.
    """
    disk = Disk.open(path)
    try:
        file = outline(disk)
        if file.moov is None:
            return Recovery(Outcome(file.condition.value), file.size_bytes, 0)
        if not file.moov.has_note and not force:
            return Recovery(Outcome.FOREIGN, file.size_bytes, 0)
        temporary_path(path).unlink(missing_ok=True)
        if file.condition is Condition.FINAL and not file.is_torn:
            return Recovery(Outcome.FINAL, file.size_bytes, 0, _final_facts(file, file.moov))
        return _recover_fragments(path, disk, file, progress, sync, note)
    except DAMAGE:
        return Recovery(Outcome.FOREIGN, path.stat().st_size, 0)
    finally:
        disk.close()


def _recover_fragments(
    path: Path, disk: Disk, file: Outline, progress: Progress | None, sync: bool, note: bytes | None
) -> Recovery:
    is_final = file.condition is Condition.FINAL
    if is_final:
        file = reopened(disk, file)
        if file.moov is None:
            return Recovery(Outcome.FOREIGN, file.size_bytes, 0)
    contents = read_contents(disk, file, progress)
    if not contents.has_samples:
        # A torn first fragment is small. What is larger was damaged: somebody may want to look at it.
        is_young = file.size_bytes - file.media <= _MAX_FIRST_FRAGMENT
        return Recovery(Outcome.EMPTY if is_young else Outcome.FOREIGN, file.size_bytes, 0)
    if note is not None:
        contents.facts = replace(contents.facts, note=note)
    movie = Movie(contents.tracks, contents.facts)
    movie.serialize()  # numbers that no moov can hold must show before the file is touched
    if is_final or file.has_helper:
        # Back to one `free` box for the whole header area: the file is fragmented (again).
        disk.write(free_header(file.area - FREE_OFFSET), FREE_OFFSET)
    cut = file.size_bytes - contents.end
    if cut:
        disk.truncate(contents.end)
    target = Target(path, disk, file.area, contents.end)
    how = finalize(target, movie, sync=sync)
    if progress is not None:
        progress(file.size_bytes, file.size_bytes)
    facts = _fragmented_facts(replace(file, size_bytes=disk.size_bytes), contents)
    return Recovery(
        Outcome.RECOVERED,
        disk.size_bytes,
        cut,
        replace(facts, is_final=how is not Method.FRAGMENTED),
        how,
        contents.skipped,
    )


# --- facts --------------------------------------------------------------------------------------------------


def _fragmented_facts(file: Outline, contents: Contents) -> FileFacts:
    tracks = tuple(track.facts() for track in contents.tracks)
    start_us = round(timeline.zero_time_s(contents.tracks) * 1_000_000)
    facts = replace(contents.facts, start_us=start_us)
    return _facts(False, file, timeline.duration_ms(contents.tracks), tracks, facts)


def _final_facts(file: Outline, parsed: Moov) -> FileFacts:
    moov = parsed.data
    mvhd = find(moov, 8, len(moov), b"mvhd")
    if mvhd is None:
        raise ValueError("no mvhd")
    duration_ms = _duration_ms(moov, mvhd, 20 if moov[mvhd.body] else 12)
    tracks = tuple(_track_facts(moov, trak, header) for trak, header in parsed.traks)
    return _facts(True, file, duration_ms, tracks, parsed.facts)


def _facts(
    is_final: bool, file: Outline, duration_ms: int, tracks: tuple[TrackFacts, ...], facts: MovieFacts
) -> FileFacts:
    start_ms = facts.start_us // 1000
    return FileFacts(is_final, file.size_bytes, duration_ms, tracks, facts.note, facts.creation_ns, start_ms)


def _duration_ms(moov: bytes, span: Span, offset: int) -> int:
    """Of mvhd and mdhd, which have timescale and duration side by side."""
    timescale, duration = struct.unpack_from(">IQ" if moov[span.body] else ">II", moov, span.body + offset)
    return int(duration * 1000 // timescale) if timescale else 0


def _track_facts(moov: bytes, trak: Span, header: TrackHeader) -> TrackFacts:
    mdhd = find(moov, trak.body, trak.end, b"mdia", b"mdhd")
    stsz = find(moov, trak.body, trak.end, b"mdia", b"minf", b"stbl", b"stsz")
    if mdhd is None or stsz is None:
        raise ValueError("a track without sizes")
    sizes = array("I", moov[stsz.body + 12 : stsz.end])
    sizes.byteswap()
    return TrackFacts(
        id=header.id,
        codec=header.codec.value,
        kind=header.codec.kind.value,
        timescale=header.timescale,
        width=header.width,
        height=header.height,
        sample_rate=header.sample_rate,
        channels=header.channels,
        packets=len(sizes),
        size_bytes=sum(sizes),
        duration_ms=_duration_ms(moov, mdhd, 20 if moov[mdhd.body] else 12),
    )
