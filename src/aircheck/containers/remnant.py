"""Recovery of FLV, MPEG-TS and Matroska files: what the container tells is put together here.

Every step may be the last: recovery of a recovery does what is left to do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from aircheck.containers import file_record
from aircheck.containers.file_record import FileRecord, Patch
from aircheck.containers.header import Header, Summary, make_final
from aircheck.containers.key_index import KeyIndex
from aircheck.containers.mp4.disk import Disk
from aircheck.containers.mp4.finalize import Method
from aircheck.containers.mp4.recovery import FileFacts, ForeignFileError, Outcome, Recovery
from aircheck.facts import TrackFacts
from aircheck.media.track import Kind

Progress = Callable[[int, int], None]
"""Called now and then with the bytes looked at and the bytes there are."""

_CHUNK = 1 << 20
_HEADER_READ = 4096
_HARDLY_A_HEADER = 640
"""A file that is so short may not even have the beginning of our record: nobody's recording is in it."""


class TrackScan:
    """What a scanner found of one track. Times are ticks of the container.

    The last packet is taken to be as long as the shortest step between two; a data message is an instant.
    """

    __slots__ = ("facts", "first_pts", "last_dts", "last_duration", "max_pts", "packets", "size_bytes")

    def __init__(self, facts: TrackFacts) -> None:
        self.facts = facts
        self.packets = self.size_bytes = 0
        self.first_pts = self.max_pts = self.last_dts = self.last_duration = 0

    def add(self, dts: int, pts: int, size_bytes: int, packets: int = 1) -> None:
        if not self.packets:
            self.first_pts = self.max_pts = pts
        elif dts != self.last_dts and self.facts.kind != Kind.DATA:
            step = abs(dts - self.last_dts)
            self.last_duration = min(step, self.last_duration or step)
        self.max_pts = max(self.max_pts, pts)
        self.last_dts = dts
        self.packets += packets
        self.size_bytes += size_bytes

    @property
    def end_pts(self) -> int:
        return self.max_pts + self.last_duration


@dataclass(slots=True)
class Scan:
    """What is whole in a file: everything before `end`, once `repairs` are written."""

    end: int
    clock_rate: int
    tracks: list[TrackScan]
    keys: KeyIndex = field(init=False)
    repairs: list[Patch] = field(default_factory=list)
    skipped: int = 0
    """Damaged bytes between what is whole; `repairs` make readers pass over them."""

    def __post_init__(self) -> None:
        has_video = self.primary is not None and self.primary.facts.kind == Kind.VIDEO
        self.keys = KeyIndex.of(has_video=has_video, clock_rate=self.clock_rate)

    @property
    def primary(self) -> TrackScan | None:
        """The track whose key frames are indexed."""
        for kind in (Kind.VIDEO, Kind.AUDIO, Kind.DATA):
            for track in self.tracks:
                if track.facts.kind == kind:
                    return track
        return None

    def summary(self) -> Summary:
        ends = [track.end_pts for track in self.tracks if track.packets]
        facts = tuple(
            replace(
                track.facts,
                packets=track.packets,
                size_bytes=track.size_bytes,
                duration_ms=self._ms(track.end_pts - track.first_pts) if track.packets else 0,
            )
            for track in self.tracks
        )
        return Summary(self.end, self._ms(max(ends, default=0)), facts, self.keys)

    def _ms(self, ticks: int) -> int:
        return max(0, ticks * 1000 // self.clock_rate)


class Window:
    """A file read in large pieces, for scanners that look at small ones."""

    def __init__(self, disk: Disk, progress: Progress | None = None) -> None:
        self._disk = disk
        self._progress = progress
        self.size_bytes = disk.size_bytes
        self.data = b""
        self._start = 0

    def seek(self, offset: int, size: int) -> int:
        """Where byte `offset` of the file is in `data`, with `size` bytes from there on; -1 past the end."""
        position = offset - self._start
        if position >= 0 and position + size <= len(self.data):
            return position
        if offset + size > self.size_bytes:
            return -1
        if self._progress is not None:
            self._progress(offset, self.size_bytes)
        self.data = self._disk.read(offset, max(size, _CHUNK))
        self._start = offset
        return 0 if len(self.data) >= size else -1


@dataclass(frozen=True, slots=True)
class Format:
    """What recovery asks of a container.

    `read_header` gives None for a file that is not ours; `scan` finds all that is whole behind it.
    """

    magic: bytes
    read_header: Callable[[Disk], Header | None]
    scan: Callable[[Disk, Header, Progress | None], Scan]


def inspect(path: Path, form: Format, progress: Progress | None = None) -> FileFacts:
    """Facts of a final, growing or torn file. Raises ForeignFileError, or OSError when it cannot be read."""
    disk = Disk.open(path, writable=False)
    try:
        header = _header_of(path, disk, form)
        record, size = header.record, disk.size_bytes
        if record.size_bytes == size:
            return _facts(record, True, size, record.duration_ms, record.tracks)
        summary = form.scan(disk, header, progress).summary()
        return _facts(record, False, size, summary.duration_ms, summary.tracks)
    finally:
        disk.close()


def read_note(path: Path, form: Format) -> bytes:
    """Raises ForeignFileError or OSError."""
    disk = Disk.open(path, writable=False)
    try:
        return _header_of(path, disk, form).record.note
    finally:
        disk.close()


def _header_of(path: Path, disk: Disk, form: Format) -> Header:
    header = form.read_header(disk)
    if header is None:
        raise ForeignFileError(f"{path} is no recording of this program, or nothing of it was written")
    return header


def recover(
    path: Path,
    form: Format,
    *,
    progress: Progress | None = None,
    sync: bool = True,
    note: bytes | None = None,
) -> Recovery:
    """Make the file final: cut what is not whole, then complete the header. Idempotent. Raises OSError.

    A file that is made final gets the `note` given, else it keeps its own.
    """
    disk = Disk.open(path)
    try:
        header, size = form.read_header(disk), disk.size_bytes
        if header is None:
            is_young = size <= _HARDLY_A_HEADER or file_record.is_torn(disk.read(0, _HEADER_READ), size)
            return Recovery(Outcome.EMPTY if is_young else Outcome.FOREIGN, size, 0)
        record = header.record
        if record.size_bytes == size:
            return Recovery(
                Outcome.FINAL, size, 0, _facts(record, True, size, record.duration_ms, record.tracks)
            )
        if size < header.size_bytes:
            return Recovery(Outcome.EMPTY, size, 0)
        return _recover_media(disk, header, form.scan(disk, header, progress), progress, sync, note)
    finally:
        disk.close()


def _recover_media(
    disk: Disk, header: Header, scan: Scan, progress: Progress | None, sync: bool, note: bytes | None
) -> Recovery:
    summary, size = replace(scan.summary(), note=note), disk.size_bytes
    if not summary.packets:
        return Recovery(Outcome.EMPTY, size, 0)
    for offset, data in scan.repairs:
        disk.write(data, offset)
    disk.truncate(summary.end)
    make_final(disk, header, summary, sync=sync)
    if progress is not None:
        progress(size, size)
    facts = _facts(header.record, True, summary.end, summary.duration_ms, summary.tracks)
    cut = size - summary.end
    return Recovery(Outcome.RECOVERED, summary.end, cut, facts, Method.RESERVE, scan.skipped)


def _facts(
    record: FileRecord, is_final: bool, size_bytes: int, duration_ms: int, tracks: tuple[TrackFacts, ...]
) -> FileFacts:
    return FileFacts(
        is_final=is_final,
        size_bytes=size_bytes,
        duration_ms=duration_ms,
        tracks=tracks,
        note=record.note,
        creation_ns=record.creation_ns,
        start_ms=record.start_us // 1000,
    )
