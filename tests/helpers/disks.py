"""Disks that misbehave for real: small ones, ones that stand still, ones that vanish. They need root."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers.tools import find_program

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a disk needs root")
needs_loop = pytest.mark.skipif(
    os.geteuid() != 0
    or not Path("/dev/loop-control").exists()
    or not all(map(find_program, ("mkfs.ext4", "fsfreeze", "mount"))),
    reason="needs root, loop devices, mkfs.ext4 and fsfreeze",
)


@contextmanager
def small_disk(mount: Path, size_mb: int) -> Iterator[Path]:
    """A file system in memory of that size."""
    mount.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", mount], check=True)
    try:
        yield mount
    finally:
        subprocess.run(["umount", "-l", mount], check=True)


@contextmanager
def real_disk(image: Path, mount: Path, size_mb: int) -> Iterator[Path]:
    """A file system of its own in a file, on a loop device."""
    with image.open("wb") as file:
        file.truncate(size_mb << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    mount.mkdir(parents=True, exist_ok=True)
    if subprocess.run(["mount", "-o", "loop", image, mount], capture_output=True, check=False).returncode:
        pytest.skip("loop devices cannot be mounted here")
    try:
        yield mount
    finally:
        subprocess.run(["umount", "-l", mount], capture_output=True, check=False)


@contextmanager
def stalled(mount: Path) -> Iterator[None]:
    """Every write and sync of this file system stands still for the time of the block."""
    subprocess.run(["fsfreeze", "-f", mount], check=True, timeout=20)
    try:
        yield
    finally:
        subprocess.run(["fsfreeze", "-u", mount], check=True, timeout=20)


def vanish(mount: Path) -> None:
    """Take the disk away from its mount point, whoever has files open on it."""
    subprocess.run(["umount", "-l", mount], check=True)


def come_back(image: Path, mount: Path) -> None:
    subprocess.run(["mount", "-o", "loop", image, mount], check=True)


class Hog:
    """Takes all the room of a disk, and again what becomes free, until it is told to give it back."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "hog"
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._fill, daemon=True)
        self._thread.start()

    def leave(self) -> None:
        self._stopping.set()
        self._thread.join()
        self._path.unlink()

    def _fill(self) -> None:
        with self._path.open("wb", buffering=0) as file:
            while not self._stopping.wait(0.003):
                try:
                    while not self._stopping.is_set():
                        file.write(bytes(16 * 1024))
                except OSError:
                    continue
