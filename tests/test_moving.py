"""A name that none has yet: taken with links, without them, and where the kernel promises nothing."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from aircheck import moving
from aircheck.moving import move_to_new


@pytest.fixture(params=["links", "no links", "no links and no flags"])
def file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    if request.param != "links":
        monkeypatch.setattr(os, "link", refuse)
    if request.param == "no links and no flags":
        monkeypatch.setattr(moving, "_libc", SimpleNamespace(renameat2=lambda *_: -1))
        monkeypatch.setattr(moving.ctypes, "get_errno", lambda: errno.EINVAL)


@pytest.mark.usefixtures("file_system")
def test_file_moves_to_a_free_name(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"media")
    move_to_new(tmp_path / "a", tmp_path / "ü b")
    assert [path.name for path in tmp_path.iterdir()] == ["ü b"]
    assert (tmp_path / "ü b").read_bytes() == b"media"


@pytest.mark.usefixtures("file_system")
def test_name_that_is_taken_stays_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"media")
    (tmp_path / "b").write_bytes(b"somebody's")
    with pytest.raises(FileExistsError):
        move_to_new(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == b"media"
    assert (tmp_path / "b").read_bytes() == b"somebody's"


@pytest.mark.usefixtures("file_system")
def test_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"media")
    with pytest.raises(FileNotFoundError):
        move_to_new(tmp_path / "a", tmp_path / "none" / "b")
    assert (tmp_path / "a").read_bytes() == b"media"
