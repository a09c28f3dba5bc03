"""Making a fragmented file a progressive one, in place and in steps that may each be the last.

The header goes into the reserve, invisible inside its `free` box; then one write of 8 bytes shrinks that box
and commits. A reserve that is too small is grown by INSERT_RANGE, else the file is cloned or copied behind a
larger one, else (no space at all) it stays as it is: fragmented, and playing. After every single step the
file is valid, and `recovery` brings it to its end.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from aircheck.containers.mp4.disk import BLOCK, UNSUPPORTED, Disk, sync_directory
from aircheck.containers.mp4.layout import (
    FREE_OFFSET,
    Header,
    compose_header,
    free_header,
    growth_step,
)
from aircheck.containers.mp4.movie import Movie

_NO_SPACE = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


class Method(StrEnum):
    """How a file became what it is now."""

    RESERVE = "reserve"
    INSERT = "insert"
    CLONE = "clone"
    COPY = "copy"
    FRAGMENTED = "fragmented"
    """Not at all, for want of space: it plays, and recovery can finalize it when there is room."""


@dataclass(slots=True)
class Target:
    """The file to finalize: its header area and where its last fragment ends. Both move when it grows.

    `on_move` is called before every step that moves media bytes, with 0, and after it with the size of the
    move.
    """

    path: Path
    disk: Disk
    area: int
    end: int
    on_move: Callable[[int], None] = lambda size: None

    @contextmanager
    def moving(self, size: int) -> Iterator[None]:
        self.on_move(0)
        try:
            yield
        except BaseException:
            self.on_move(0)
            raise
        self.area += size
        self.end += size
        self.on_move(size)


def temporary_path(path: Path) -> Path:
    """Where a copy is made before it takes the place of `path`."""
    return path.with_name(path.name + ".finalizing")


def finalize(target: Target, movie: Movie, *, sync: bool) -> Method:
    """Raises OSError when the disk fails for another reason than space; the file stays recoverable."""
    header = compose_header(movie, target.area, target.end)
    try:
        if header.size == target.area:
            _commit(target.disk, header, sync)
            return Method.RESERVE
        if _insert(target, header.size, sync):
            _commit(target.disk, header, sync)
            return Method.INSERT
        return _replace(target, header, sync)
    except OSError as error:
        if error.errno not in _NO_SPACE:
            raise
        return Method.FRAGMENTED


def _commit(disk: Disk, header: Header, sync: bool) -> None:
    disk.write(header.moov + header.padding, FREE_OFFSET + 8)
    disk.write(header.mdat, header.mdat_offset)
    if sync:
        disk.sync()
    disk.write(free_header(8), FREE_OFFSET)
    if sync:
        disk.sync()


def _insert(target: Target, size: int, sync: bool) -> bool:
    """Grow the header area in place to `size`; False where the file system cannot, or has no room to."""
    disk = target.disk
    disk.sync()
    with suppress(OSError):
        disk.drop_cache()
    while target.area < size:
        step = growth_step(target.area)
        # This header comes to stand right behind the reserve when the range is inserted before it: the file
        # is a chain of whole boxes before and after the shift.
        disk.write(free_header(step), BLOCK)
        if sync:
            disk.sync()
        try:
            _insert_step(target, step)
        except OSError as error:
            if error.errno in UNSUPPORTED or error.errno in _NO_SPACE:
                return False
            raise
        disk.write(free_header(target.area - FREE_OFFSET), FREE_OFFSET)
        disk.write(bytes(8), target.area - step)
    return True


def _insert_step(target: Target, step: int) -> None:
    with target.moving(step):
        target.disk.insert(BLOCK, step)
        try:
            # The range is a hole: give it blocks now, while it can still be undone.
            target.disk.allocate(BLOCK, step)
        except OSError:
            target.disk.collapse(BLOCK, step)
            raise


def _replace(target: Target, header: Header, sync: bool) -> Method:
    """Make a new file behind a larger header and put it in the place of the old one."""
    temporary = temporary_path(target.path)
    temporary.unlink(missing_ok=True)
    disk = Disk.create(temporary)
    try:
        method = _fill(disk, target, header.size)
        disk.write(header.serialize(), 0)
        if sync:
            disk.sync()
        with target.moving(header.size - target.area):
            temporary.replace(target.path)
        if sync:
            sync_directory(target.path.parent)
    except BaseException:
        disk.close()
        temporary.unlink(missing_ok=True)
        raise
    target.disk.close()
    target.disk.fd = disk.fd
    return method


def _fill(disk: Disk, target: Target, offset: int) -> Method:
    try:
        disk.clone_from(target.disk, target.area, offset)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
    else:
        return Method.CLONE
    disk.copy_from(target.disk, target.area, offset, target.end)
    return Method.COPY
