"""One server a folder, and one a catalogue: another would take what is being written for a crash's rest."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from aircheck.errors import ConfigError

LOCK_NAME = "lock"

TRIES = 4
PAUSE_S = 0.05
"""Between tries: who only looks whether a server runs has the lock for an instant."""


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
                self._files.append(_take(_beside(catalog), told, "[catalog] path"))
        except ConfigError:
            self.release()
            raise

    @staticmethod
    def is_held(folders: Iterable[Path], catalog: Path | None = None) -> bool:
        """Whether a server runs that records there, as far as this user can see."""
        locks = [folder / LOCK_NAME for folder in folders]
        locks += [] if catalog is None else [_beside(catalog)]
        return any(map(_is_held, locks))

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
    for _ in range(TRIES):
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        time.sleep(PAUSE_S)
    lock.close()
    raise ConfigError(told, remedy=f"stop it, or give this one its own {settings}")


def _beside(catalog: Path) -> Path:
    return catalog.with_name(f"{catalog.name}.{LOCK_NAME}")


def _is_held(path: Path) -> bool:
    try:
        with path.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
