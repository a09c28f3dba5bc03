"""What FLV, MPEG-TS and Matroska files have in common: a header of constant size, then whole units, appended.

Nothing is ever moved. What a finished file says more than a growing one has its place in the header from the
beginning; making a file final is a handful of small writes there, the last of which (8 bytes) commits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from aircheck.containers import file_record
from aircheck.containers.file_record import FileRecord, Patch
from aircheck.containers.key_index import KeyIndex
from aircheck.containers.mp4.disk import Disk
from aircheck.facts import TrackFacts


@dataclass(frozen=True, slots=True)
class Summary:
    """What there is in a file up to byte `end`. `duration_ms` counts from the file's time 0.

    A `note` replaces the one that the file has.
    """

    end: int
    duration_ms: int
    tracks: tuple[TrackFacts, ...]
    keys: KeyIndex
    note: bytes | None = None

    @property
    def packets(self) -> int:
        return sum(track.packets for track in self.tracks)


class Header(Protocol):
    """Where things lie in the header of a file."""

    @property
    def record(self) -> FileRecord: ...

    @property
    def size_bytes(self) -> int:
        """Where the media begins."""
        ...

    def final_patches(self, summary: Summary) -> Iterator[Patch]:
        """What the container itself wants to know of a final file, in an order that is always readable."""
        ...

    def growing_patches(self) -> Iterator[Patch]:
        """What takes back in a final file whatever is no longer true once it grows, as far as it matters."""
        ...

    def place(self, patch: Patch) -> Iterator[Patch]:
        """A patch of the file record as patches of the file."""
        ...


def final_patches(header: Header, summary: Summary) -> list[Patch]:
    """All that makes a growing file final. The last one commits."""
    patches = list(header.final_patches(summary))
    if summary.note is not None:
        patches += placed(header, header.record.note_patches(summary.note))
    patches += placed(header, file_record.final_patches(summary.tracks, summary.duration_ms, summary.end))
    return patches


def growing_patches(header: Header) -> list[Patch]:
    """All that makes a final file a growing one, each in a piece; it can be read after every single one."""
    return [*placed(header, [file_record.growing_patch()]), *header.growing_patches()]


def placed(header: Header, patches: Iterable[Patch]) -> Iterator[Patch]:
    for patch in patches:
        yield from header.place(patch)


def make_final(disk: Disk, header: Header, summary: Summary, *, sync: bool) -> None:
    """Raises OSError when the disk fails; to be tried again then."""
    *patches, commit = final_patches(header, summary)
    for offset, data in patches:
        disk.write(data, offset)
    if sync:
        disk.sync()
    offset, data = commit
    disk.write(data, offset)
    if sync:
        disk.sync()


def patched(header: bytes, patches: Iterable[Patch]) -> bytes:
    """The header with these patches, which stay inside it."""
    result = bytearray(header)
    for offset, data in patches:
        result[offset : offset + len(data)] = data
    return bytes(result)
