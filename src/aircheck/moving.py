"""Giving a file a name that none has yet: nothing is overwritten, and no name stands for half a file."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

NO_LINKS = frozenset((errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS))
"""What linking says on file systems without links."""

_NO_FLAGS = (errno.EINVAL, errno.ENOSYS)
_AT_FDCWD, _RENAME_NOREPLACE = -100, 1
_libc = ctypes.CDLL(None, use_errno=True)


def move_to_new(path: Path, target: Path) -> None:
    """Move a file within its file system. Raises FileExistsError when the name is taken, OSError."""
    try:
        os.link(path, target)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        rename_to_new(path, target)
    else:
        path.unlink()


def rename_to_new(path: Path, target: Path) -> None:
    """`move_to_new` for file systems without links."""
    if not _libc.renameat2(_AT_FDCWD, os.fsencode(path), _AT_FDCWD, os.fsencode(target), _RENAME_NOREPLACE):
        return
    number = ctypes.get_errno()
    if number not in _NO_FLAGS:
        raise OSError(number, os.strerror(number), str(target))
    _reserve_and_rename(path, target)


def _reserve_and_rename(path: Path, target: Path) -> None:
    """Where the kernel cannot promise it: take the name first, then rename over one's own reservation."""
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
    path.replace(target)
