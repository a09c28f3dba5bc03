"""`cut` and `join`: which way a file is made, and nothing left of it when that fails."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from aircheck.containers.cut.indexed import cut_by_index
from aircheck.containers.cut.packets import copy_packets
from aircheck.containers.cut.place import touched
from aircheck.containers.cut.source import Made, Progress, Range, Source


def cut(
    sources: Sequence[Source],
    wanted: Range,
    target: Path,
    *,
    note: bytes = b"",
    is_one_timeline: bool = True,
    progress: Progress | None = None,
) -> Made:
    """Make `target`, which does not exist yet, of what the sources show in that range. Blocking.

    The extension of `target` names its container. With `is_one_timeline` the sources are files of one
    recording, in their order; else they are put back to back. Raises NothingThere for a range outside,
    ContainerError for what cannot be cut or does not fit together, FileExistsError, OSError; then there is no
    new file.
    """
    chosen = touched(sources, wanted)
    try:
        made = None
        if target.suffix == ".mp4":
            made = cut_by_index(
                chosen, wanted, target, note, is_one_timeline=is_one_timeline, progress=progress
            )
        return made or copy_packets(
            chosen, wanted, target, note, is_one_timeline=is_one_timeline, progress=progress
        )
    except FileExistsError:
        raise
    except BaseException:
        # Where it could not be made it cannot be removed either; the first error is the one to tell.
        with suppress(OSError):
            target.unlink(missing_ok=True)
        raise


def join(
    sources: Sequence[Source],
    target: Path,
    *,
    is_one_timeline: bool = False,
    progress: Progress | None = None,
) -> Made:
    """All of the sources, one behind the other, as one file: `cut` without limits."""
    return cut(sources, Range(), target, is_one_timeline=is_one_timeline, progress=progress)
