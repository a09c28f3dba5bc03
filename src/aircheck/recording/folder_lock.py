"""One server a folder: another would take the files that this one writes for those of a crash."""

from __future__ import annotations

import fcntl
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from aircheck.errors import ConfigError

LOCK_NAME = "lock"


class FolderLock:
    """Holds the `lock` file of each folder until `release`, or until the process is gone however it goes."""

    def __init__(self, folders: Iterable[Path]) -> None:
        """Take them all. Raises ConfigError when one cannot be written or is another server's."""
        self._files: list[TextIO] = []
        try:
            for folder in folders:
                self._files.append(_take(folder))
        except ConfigError:
            self.release()
            raise

    def release(self) -> None:
        for file in self._files:
            file.close()
        self._files.clear()


def _take(folder: Path) -> TextIO:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK_NAME).open("a+")
    except OSError as error:
        raise ConfigError(
            f"cannot write in {folder}: {error.strerror}",
            remedy="make the folder writable for this user, or set others as [record] dir and tmp_dir",
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise ConfigError(
            f"another server records into {folder}",
            remedy="stop it, or give this one folders of its own as [record] dir and tmp_dir",
        ) from error
    return lock
