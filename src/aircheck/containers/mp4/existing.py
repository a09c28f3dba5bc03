"""An MP4 file of ours that is to grow on, as it is before anything is changed.

A final file still is the fragmented one that it grew as: its fragments lie inside `mdat`, and the init
segment before them. Making it grow again takes one write of 8 bytes, the opposite of what made it final.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from aircheck.containers.mp4.boxes import HEADER64, parse_header
from aircheck.containers.mp4.disk import Disk
from aircheck.containers.mp4.final_index import read_final_index
from aircheck.containers.mp4.scan import Condition, Contents, Outline, outline, read_contents, reopened


@dataclass(frozen=True, slots=True)
class ExistingMp4:
    """`file` is the fragmented file, `contents` what its fragments hold; `is_final` if players see it as one.

    `disk` is the file, open for writing; whoever continues owns it.
    """

    path: Path
    disk: Disk
    file: Outline
    contents: Contents
    is_final: bool
    note: bytes


def read_existing(path: Path, disk: Disk) -> ExistingMp4 | None:
    """None for a file that is not ours or not whole. Raises OSError, and DAMAGE for one that is damaged."""
    file = outline(disk)
    if file.moov is None or not file.moov.has_note or file.is_torn or file.has_helper:
        return None
    final, is_final = file.moov, file.condition is Condition.FINAL
    if is_final:
        if _end_of_final(disk, file) != file.size_bytes:
            return None
        file = reopened(disk, file)
    if file.moov is None:
        return None
    contents = read_final_index(disk, final, file) if is_final else None
    if contents is None:
        contents = read_contents(disk, file)
    if contents.end != file.size_bytes or not contents.has_samples:
        return None
    return ExistingMp4(path, disk, file, contents, is_final, final.facts.note)


def _end_of_final(disk: Disk, final: Outline) -> int:
    """Where its `mdat` ends, whose header is the last of the header area."""
    offset = final.area - HEADER64.size
    header = parse_header(disk.read(offset, HEADER64.size))
    return offset + header[0] if header is not None else 0
