"""Volume: one file system and the threads that wait for it, so that nobody else has to.

Theory of operation
    A disk may stall for seconds at any call. Each volume therefore has a writer thread that takes jobs in
    order (open, write, finish), a thread that makes them durable with one `syncfs` every
    `durability_interval_s`, and two threads that finalize files. The loop never touches the disk; volumes
    never wait for one another.

    Jobs are collected until the loop's turn is over and handed over in one go: one wake-up of the writer
    thread serves every stream that was read in that turn, when the loop is about to sleep.

    What waits for a slow disk is bounded per recording and per volume; whoever is over the bound drops media
    and writes the gap down (see `recording.py`). Byte counts have one writing thread each, so they need no
    lock.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from aircheck.words import file_size

_log = logging.getLogger(__name__)

BEGIN_BYTES = 16 * 1024 * 1024
"""Room for a file that begins, beside the reserve: space is allocated ahead of what is written, and given
back at its end. Without this a file would end because of its own space, and the next one begin in it."""
BEGIN_S = 3.0
"""After this long a file has allocated what it takes at its beginning."""

_Result = TypeVar("_Result")
_libc = ctypes.CDLL(None, use_errno=True)


class Job:
    """Work on one file, done by the writer thread in order of `Volume.submit`.

    `run` may raise; `failed` then gets the error on the loop. `size_bytes` is what waits in memory for it.
    """

    __slots__ = ()
    size_bytes: int = 0

    def run(self) -> None:
        raise NotImplementedError

    def failed(self, error: Exception) -> None:
        raise NotImplementedError


@dataclass(slots=True)
class VolumeHealth:
    """What a person wants to know of a disk. Times are `time.monotonic()` seconds."""

    queued_bytes: int = 0
    last_sync_s: float = 0.0
    sync_errors: int = 0
    write_errors: int = 0
    last_error: str = ""
    last_write_latency_s: float = 0.0
    max_write_latency_s: float = 0.0


class Volume:
    """The file system that holds `directory`. `start` and `submit` on the loop; `stop` waits for all work."""

    def __init__(
        self, directory: Path, *, durability_interval_s: float = 0.5, queue_max_bytes: int = 512 * 1024 * 1024
    ) -> None:
        self.directory = directory
        self.queue_max_bytes = queue_max_bytes
        self.last_error = ""
        self._identity = _identity(directory)
        self.free_bytes = _free_bytes(directory)
        """Space for an ordinary user, as of the last look; the loop never asks the disk."""
        self.reserve_bytes = 0
        """Space that recordings leave alone: with less than that the disk takes none."""
        self._begun_s: list[float] = []
        """When files were begun whose space does not show yet."""
        self.is_refusing = False
        """Whether the last job failed."""
        self.write_errors = 0
        self.sync_errors = 0
        self.last_sync_s = time.monotonic()
        self.last_write_latency_s = 0.0
        self.max_write_latency_s = 0.0
        self._durability_interval_s = durability_interval_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._collected: list[Job] = []
        self._queue: queue.SimpleQueue[list[Job] | None] = queue.SimpleQueue()
        self._submitted_bytes = 0
        self._done_bytes = 0
        self._is_dirty = False
        self._job_started_s: float | None = None
        self._stopping = threading.Event()
        self._writer = threading.Thread(target=self._write_loop, name="volume-writer", daemon=True)
        self._syncer = threading.Thread(target=self._sync_loop, name="volume-sync", daemon=True)
        self._finalizers = ThreadPoolExecutor(2, thread_name_prefix="volume-finalize")

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._writer.start()
        self._syncer.start()

    async def stop(self) -> None:
        """Return when every job has run and is durable. A stalled disk makes this wait."""
        self._hand_over()
        self._queue.put(None)
        self._stopping.set()
        await asyncio.to_thread(self._join)

    def has_room_to_begin(self, reserve_bytes: int) -> bool:
        """Whether a file may begin beside the reserve and all those that have just begun."""
        now_s = time.monotonic()
        self._begun_s = [at_s for at_s in self._begun_s if now_s - at_s < BEGIN_S]
        each_bytes = min(BEGIN_BYTES, reserve_bytes)
        return self.free_bytes >= reserve_bytes + each_bytes * (1 + len(self._begun_s))

    def refuses_with(self, free_bytes: int) -> bool:
        """Whether with so much free space no recording begins here, even when no other has just begun."""
        return free_bytes < self.reserve_bytes + min(BEGIN_BYTES, self.reserve_bytes)

    def note_begin(self) -> None:
        """A file begins, and will take its space."""
        self._begun_s.append(time.monotonic())

    @property
    def queued_bytes(self) -> int:
        return self._submitted_bytes - self._done_bytes

    @property
    def backlog_ratio(self) -> float:
        """How much of what the node wants to hold in memory for this disk waits for it."""
        return self.queued_bytes / self.queue_max_bytes

    @property
    def is_overloaded(self) -> bool:
        """Whether more waits for this disk than the node wants to hold in memory."""
        return self._submitted_bytes - self._done_bytes > self.queue_max_bytes

    @property
    def stalled_s(self) -> float:
        """How long the disk has not come back from the write that it is at now."""
        started_s = self._job_started_s
        return time.monotonic() - started_s if started_s is not None else 0.0

    def health(self) -> VolumeHealth:
        return VolumeHealth(
            queued_bytes=self.queued_bytes,
            last_sync_s=self.last_sync_s,
            sync_errors=self.sync_errors,
            write_errors=self.write_errors,
            last_error=self.last_error,
            last_write_latency_s=self.last_write_latency_s,
            max_write_latency_s=self.max_write_latency_s,
        )

    def require_mounted(self) -> None:
        """On a thread: see to it that the folder is there, on the disk that it was on.

        Whoever made the folder anew wherever its path leads would fill the disk below the mount point of
        one that has gone, with files that nobody finds when it is back. Raises OSError.
        """
        device, inode = self._identity
        try:
            found = _identity(self.directory)
        except FileNotFoundError:
            if _identity(self.directory.parent)[0] != device:
                raise _unmounted(self.directory) from None
            self.directory.mkdir()
            found = _identity(self.directory)
        if found[0] != device and found[1] != inode:
            raise _unmounted(self.directory)
        self._identity = found

    def submit(self, job: Job) -> None:
        """Queue a job. It reaches the writer thread at the end of the loop's turn."""
        if not self._collected and self._loop is not None:
            self._loop.call_soon(self._hand_over)
        self._collected.append(job)
        self._submitted_bytes += job.size_bytes

    async def finalize(self, work: Callable[[], _Result]) -> _Result:
        """Run slow work on a file that no job writes any more, beside the writer thread."""
        return await asyncio.get_running_loop().run_in_executor(self._finalizers, work)

    def note_error(self, error: Exception) -> None:
        """Remember trouble for those who ask after this disk."""
        self.write_errors += 1
        self.last_error = f"{type(error).__name__}: {error}"

    def _hand_over(self) -> None:
        if self._collected:
            jobs, self._collected = self._collected, []
            self._queue.put(jobs)

    def _join(self) -> None:
        self._writer.join()
        self._syncer.join()
        self._finalizers.shutdown(wait=True)

    def _write_loop(self) -> None:
        while (jobs := self._queue.get()) is not None:
            for job in jobs:
                self._run(job)

    def _run(self, job: Job) -> None:
        self._job_started_s = started_s = time.monotonic()
        try:
            job.run()
            self.is_refusing = False
        except Exception as error:
            self.is_refusing = True
            self.note_error(error)
            self._on_loop(job.failed, error)
        self._job_started_s = None
        self._done_bytes += job.size_bytes
        self._is_dirty = True
        self.last_write_latency_s = latency_s = time.monotonic() - started_s
        if latency_s > self.max_write_latency_s:
            self.max_write_latency_s = latency_s

    def _on_loop(self, callback: Callable[[Exception], None], error: Exception) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback, error)

    def _sync_loop(self) -> None:
        while not self._stopping.wait(self._durability_interval_s):
            self._sync()
        self._writer.join()
        self._sync()

    def _sync(self) -> None:
        self.free_bytes = _free_bytes(self.directory)
        if not self._is_dirty:
            self.last_sync_s = time.monotonic()
            return
        self._is_dirty = False
        try:
            sync_file_system(self.directory)
            self.last_sync_s = time.monotonic()
        except OSError as error:
            self.sync_errors += 1
            self._is_dirty = True
            if self.sync_errors == 1 or self.sync_errors % 100 == 0:
                _log.error("sync failed dir=%s errors=%d error=%s", self.directory, self.sync_errors, error)
            self.last_error = f"sync: {error}"


def _identity(directory: Path) -> tuple[int, int]:
    """Device and inode. A disk that comes back may be another device, but its folders keep their inodes."""
    status = directory.stat()
    return status.st_dev, status.st_ino


def _unmounted(directory: Path) -> OSError:
    return OSError(errno.ENODEV, "its disk is not mounted", str(directory))


def reserve_told(free_bytes: int, reserve_bytes: int) -> str:
    """Why a recording is refused, in words."""
    return f"{file_size(free_bytes)} are free, and {file_size(reserve_bytes)} are kept in reserve"


def _free_bytes(directory: Path) -> int:
    """Free space; 0 when the file system cannot be asked."""
    try:
        stat = os.statvfs(directory)
    except OSError:
        return 0
    return stat.f_bavail * stat.f_frsize


def sync_file_system(directory: Path) -> None:
    """`syncfs(2)`: make everything on the directory's file system durable. Raises OSError."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if _libc.syncfs(fd) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(directory))
    finally:
        os.close(fd)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable. Raises OSError."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
