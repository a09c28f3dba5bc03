"""An MP4 file of ours that is to grow on, as it is before anything is changed.

A final file still is the fragmented one that it grew as: its fragments lie inside `mdat`, and the init
segment before them. Making it grow again takes one write of 8 bytes, the opposite of what made it final.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from aircheck.containers.mp4.disk import Disk
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
    note, is_final = file.moov.facts.note, file.condition is Condition.FINAL
    if is_final:
        file = reopened(disk, file)
    if file.moov is None:
        return None
    contents = read_contents(disk, file)
    if contents.end != file.size_bytes or not contents.has_samples:
        return None
    return ExistingMp4(path, disk, file, contents, is_final, note)
