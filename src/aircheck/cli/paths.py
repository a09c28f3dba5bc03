"""What people name on the command line, looked at without a traceback."""

from __future__ import annotations

import errno
from pathlib import Path

from aircheck.errors import ConfigError

_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


def exists(path: Path) -> bool:
    """Whether there is something. Raises ConfigError where this user may not look."""
    try:
        path.stat()
    except OSError as error:
        if error.errno in _NOT_THERE:
            return False
        raise ConfigError(
            f"{path} cannot be looked at: {error.strerror}",
            remedy="give this user the right to read its folder, or run this as the server's user",
        ) from error
    return True
