from __future__ import annotations

import fcntl
import threading
from pathlib import Path

import pytest

from aircheck.errors import ConfigError
from aircheck.recording.folder_lock import FolderLock


def test_a_folder_is_one_servers_at_a_time(tmp_path: Path) -> None:
    first = FolderLock([tmp_path / "a", tmp_path / "b"])
    with pytest.raises(ConfigError, match="another server"):
        FolderLock([tmp_path / "c", tmp_path / "b"])
    FolderLock([tmp_path / "c"]).release()  # what the refused one had taken is free again
    first.release()
    FolderLock([tmp_path / "a", tmp_path / "b"]).release()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write"):
        FolderLock([tmp_path / "file"])


def test_who_looks_whether_a_server_runs_keeps_none_from_starting(tmp_path: Path) -> None:
    folder, catalog = tmp_path / "a", tmp_path / "elsewhere.db"
    assert not FolderLock.is_held([folder], catalog)
    lock = FolderLock([folder], catalog)
    assert FolderLock.is_held([folder])
    assert FolderLock.is_held([], catalog)
    lock.release()
    assert not FolderLock.is_held([folder], catalog)
    with (folder / "lock").open() as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        threading.Timer(0.06, fcntl.flock, (looking, fcntl.LOCK_UN)).start()
        FolderLock([folder]).release()
