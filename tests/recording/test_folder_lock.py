from __future__ import annotations

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
