"""Packages of other people's clients, fetched when a test runs: they are never kept with ours."""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest
from helpers.tools import find_program

WEBSDK = "@flashphoner/websdk@2.0.276"
MOCHA = "mocha@2.5.3"
CHAI = "chai@3.5.0"
_PACKAGES = (WEBSDK, MOCHA, CHAI)
_FETCH_TIMEOUT_S = 60


def npm_package(specification: str) -> Path:
    """The folder of one of the packages. Skips the test where there is no npm or it cannot fetch."""
    found = _fetched()
    if isinstance(found, str):
        pytest.skip(found)
    return found / _file_name(specification) / "package"


@functools.cache
def _fetched() -> Path | str:
    """The folder of all packages, or why there is none. They come together, because npm itself is slow."""
    npm = find_program("npm")
    if npm is None or find_program("node") is None:
        return "needs: apt-get install nodejs npm"
    folder = Path(tempfile.mkdtemp(prefix="npm-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    command = [npm, "pack", "--silent", "--prefer-offline", "--pack-destination", str(folder), *_PACKAGES]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_FETCH_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"npm could not fetch packages within {_FETCH_TIMEOUT_S} s"
    if done.returncode:
        return f"npm could not fetch packages: {done.stderr.strip()[-200:]}"
    for specification in _PACKAGES:
        name = _file_name(specification)
        with tarfile.open(folder / f"{name}.tgz") as archive:
            archive.extractall(folder / name, filter="data")
    return folder


def _file_name(specification: str) -> str:
    """What npm names the archive of a package, without the ending."""
    return specification.removeprefix("@").replace("/", "-").replace("@", "-")
