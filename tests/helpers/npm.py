"""Packages of other people's clients, fetched when a test runs: they are never kept with ours."""

from __future__ import annotations

import functools
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest
from helpers.tools import find_program

WEBSDK = "@flashphoner/websdk@2.0.276"
_FETCH_TIMEOUT_S = 60


def npm_package(specification: str) -> Path:
    """The folder of a package. Skips the test where there is no npm or it cannot fetch."""
    found = _fetched(specification)
    if isinstance(found, str):
        pytest.skip(found)
    return found


@functools.cache
def _fetched(specification: str) -> Path | str:
    """The package, or why there is none."""
    npm = find_program("npm")
    if npm is None or find_program("node") is None:
        return "needs: apt-get install nodejs npm"
    folder = Path(tempfile.mkdtemp(prefix="npm-"))
    try:
        command = [npm, "pack", "--silent", "--pack-destination", str(folder), specification]
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_FETCH_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"npm could not fetch {specification} within {_FETCH_TIMEOUT_S} s"
    if done.returncode:
        return f"npm could not fetch {specification}: {done.stderr.strip()[-200:]}"
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        archive.extractall(folder, filter="data")
    return folder / "package"
