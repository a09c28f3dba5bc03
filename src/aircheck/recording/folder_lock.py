"""One server a folder, and one a catalogue: another would take what is being written for a crash's rest."""

from __future__ import annotations

import fcntl
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from aircheck.errors import ConfigError

LOCK_NAME = "lock"


class FolderLock:
    """Holds the `lock` file of each folder until `release`, or until the process is gone however it goes.

    A catalogue that lies elsewhere has a lock beside it, with its name and `.lock`.
    """

    def __init__(self, folders: Iterable[Path], catalog: Path | None = None) -> None:
        """Take them all. Raises ConfigError when one cannot be written or is another server's."""
        self._files: list[TextIO] = []
        try:
            for folder in folders:
                told = f"another server records into {folder}"
                self._files.append(_take(folder / LOCK_NAME, told, "[record] dir and tmp_dir"))
            if catalog is not None:
                told = f"another server writes the catalogue {catalog}"
                lock = catalog.with_name(f"{catalog.name}.{LOCK_NAME}")
                self._files.append(_take(lock, told, "[catalog] path"))
        except ConfigError:
            self.release()
            raise

    def release(self) -> None:
        for file in self._files:
            file.close()
        self._files.clear()


def _take(path: Path, told: str, settings: str) -> TextIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("a+")
    except OSError as error:
        raise ConfigError(
            f"cannot write in {path.parent}: {error.strerror}",
            remedy=f"make the folder writable for this user, or set another as {settings}",
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise ConfigError(told, remedy=f"stop it, or give this one its own {settings}") from error
    return lock
