"""Making files whole that a crash left, and asking files what they are.

Matroska, MPEG-TS and FLV join here as their recovery is written; MP4 is told by its first bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from aircheck.containers.mp4 import recovery
from aircheck.containers.mp4.recovery import FileFacts, ForeignFileError, Outcome, Recovery

__all__ = [
    "FileFacts",
    "ForeignFileError",
    "Outcome",
    "Recovery",
    "inspect_file",
    "read_note",
    "recover_file",
]


def inspect_file(path: Path, *, progress: Callable[[int, int], None] | None = None) -> FileFacts:
    """What the file says of itself. Reads the headers only; `progress` is told bytes done and bytes in all.

    Raises ForeignFileError for a file that is not ours, OSError when it cannot be read.
    """
    return recovery.inspect(path, progress)


def read_note(path: Path) -> bytes:
    """The note that the file's writer was given. Raises ForeignFileError or OSError."""
    return recovery.read_note(path)


def recover_file(
    path: Path,
    *,
    progress: Callable[[int, int], None] | None = None,
    sync: bool = True,
    force: bool = False,
) -> Recovery:
    """Make the file whole: cut what is torn at its end and finalize it. Does nothing to a final file.

    A foreign file is never touched; `force` takes the lack of our note for an accident. May be killed at any
    instant and called again. Raises OSError when the disk fails.
    """
    return recovery.recover(path, progress=progress, sync=sync, force=force)
