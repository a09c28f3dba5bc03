"""Downloads: from the name of a recorded file to its bytes, finished or still growing.

Theory of operation
    A name is looked up in the catalogue, never on the disk: what is not catalogued (growing temporaries, the
    database, somebody else's files) has no name here. What the catalogue points at must be a regular file
    below one of the record folders after every symbolic link has been followed.

    A growing file is served as a *virtual* file: a header made for what is in it now, and behind that the
    file's own bytes at their own offsets. The descriptor stays open while the download runs, so neither the
    rename to the final name nor a deletion disturbs it.

    The disk is only touched in a few threads of our own. A download holds one chunk at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from aircheck.catalog import Catalog
from aircheck.errors import AircheckError
from aircheck.facts import SegmentFacts, SegmentState
from aircheck.service.errors import NotFound, NotYetPlayable

T = TypeVar("T")

READER_THREADS = 4
"""Enough to keep a disk busy; more would only fight for the interpreter."""

RETRY_DELAYS_S = (0.02, 0.1, 0.3, 0.6)
"""A file that is becoming final has for a moment neither a view nor its last name; a new one has no media."""

MOVING_POLL_S = 0.005

_MEDIA_TYPES = {
    "mp4": "mp4",
    "webm": "webm",
    "mkv": "x-matroska",
    "matroska": "x-matroska",
    "ts": "mp2t",
    "mpegts": "mp2t",
    "flv": "x-flv",
}
_AUDIO_HAS_OWN_TYPE = {"mp4", "webm", "mkv", "matroska"}


class VirtualFile(Protocol):
    """A growing file as a player should see it: `header`, then the bytes [start, end) of `path`."""

    @property
    def header(self) -> bytes: ...
    @property
    def path(self) -> Path: ...
    @property
    def start(self) -> int: ...
    @property
    def size_bytes(self) -> int: ...


class GrowingFile(Protocol):
    """Who writes a file, as its readers see it; of use to them even after the file became final.

    `epoch` is odd while media bytes are being moved inside the file, and another one afterwards.
    """

    @property
    def epoch(self) -> int: ...

    def view(self) -> VirtualFile:
        """The file as it is now. Takes its time: called in a thread."""
        ...


class GrowingFiles(Protocol):
    """What the downloads ask of the recorder."""

    def growing_file(self, segment_id: str) -> GrowingFile | None:
        """None when there is nothing to play yet, or when the file is not growing any more."""
        ...


class FileShrank(AircheckError):
    """A file ended before the size that was promised to the client."""


class Content:
    """The bytes of one representation, read from an open file in the pool.

    `close` never takes the descriptor from under a read that is still running.
    """

    def __init__(self, fd: int, size_bytes: int, pool: ThreadPoolExecutor) -> None:
        self.size_bytes = size_bytes
        self._fd = fd
        self._pool = pool
        self._pending: Future[bytes] | None = None

    async def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes at `offset` of the representation. Raises OSError, `FileShrank`."""
        wanted = min(size, self.size_bytes - offset)
        self._pending = self._pool.submit(self._read, offset, wanted)
        data = await asyncio.wrap_future(self._pending)
        if not data and wanted > 0:
            raise FileShrank(
                f"the file ends at {offset} instead of its promised size of {self.size_bytes} bytes",
                remedy="something outside truncated the file; `aircheck check` compares files and catalogue",
            )
        return data

    def close(self) -> None:
        """Let the file go, at once or when the read in progress returns."""
        if self._pending is None:
            os.close(self._fd)
        else:
            self._pending.add_done_callback(lambda _: os.close(self._fd))

    def _read(self, offset: int, size: int) -> bytes:
        return os.pread(self._fd, size, offset)


class GrowingContent(Content):
    """The same of a growing file: its header from memory, the rest from where its media is at that moment."""

    def __init__(
        self, fd: int, pool: ThreadPoolExecutor, file: GrowingFile, epoch: int, view: VirtualFile
    ) -> None:
        super().__init__(fd, view.size_bytes, pool)
        self._file = file
        self._epoch = epoch
        self._header = view.header
        self._start = view.start

    def _read(self, offset: int, size: int) -> bytes:
        """A finalize that has to make room moves all media in place: look again whenever that happened."""
        if offset < len(self._header):
            return self._header[offset : offset + size]
        while True:
            epoch = self._file.epoch
            if epoch % 2:
                time.sleep(MOVING_POLL_S)
                continue
            if epoch != self._epoch:
                self._start, self._epoch = self._file.view().start, epoch
            data = os.pread(self._fd, size, offset - len(self._header) + self._start)
            if self._file.epoch == epoch:
                return data


@dataclass(frozen=True, slots=True)
class Download:
    """One representation of a recorded file. The holder closes `content`.

    `etag` and `modified_ns` are None while the file grows: the next request will see another representation.
    """

    segment: SegmentFacts
    media_type: str
    size_bytes: int
    content: Content
    etag: str | None = None
    modified_ns: int | None = None

    @property
    def is_growing(self) -> bool:
        return self.etag is None

    @property
    def file_name(self) -> str:
        """The last part of the catalogue name: what a browser should save the file as."""
        return self.segment.file_name.rpartition("/")[2]

    def close(self) -> None:
        self.content.close()


@dataclass(slots=True)
class DownloadCounters:
    opened: int = 0
    active: int = 0
    aborted: int = 0
    failed: int = 0
    size_bytes: int = 0


class DownloadService:
    """Opens recorded files by catalogue name. `roots` are the only folders that files may come from."""

    def __init__(
        self,
        catalog: Catalog,
        growing: GrowingFiles,
        roots: Sequence[Path],
        *,
        as_attachment: bool = False,
    ) -> None:
        self.counters = DownloadCounters()
        self.as_attachment = as_attachment
        self._catalog = catalog
        self._growing = growing
        self._roots = tuple(root.resolve() for root in roots)
        self._pool = ThreadPoolExecutor(READER_THREADS, thread_name_prefix="file-reader")

    async def open(self, name: str) -> Download:
        """Open the file of that catalogue name. Raises `NotFound`, `NotYetPlayable`, OSError."""
        check_name(name)
        for delay_s in RETRY_DELAYS_S:
            with contextlib.suppress(FileNotFoundError, NotYetPlayable):
                return await self._open(name)
            await asyncio.sleep(delay_s)
        try:
            return await self._open(name)
        except FileNotFoundError:
            raise NotFound(
                f"the file of recording {name!r} is gone from the disk",
                remedy="it was deleted or moved outside of Aircheck; restore it, or delete the recording",
            ) from None

    async def stop(self) -> None:
        await asyncio.to_thread(self._pool.shutdown)

    async def _open(self, name: str) -> Download:
        segment = await self._catalog.segment_by_file_name(name)
        if segment is None:
            raise not_found(name)
        if segment.state in (SegmentState.GROWING, SegmentState.FINALIZING):
            return await self._open_growing(segment)
        if segment.state is SegmentState.FAILED:
            raise NotFound(
                f"the recording {name!r} failed: {segment.error or 'its file could not be finished'}",
                remedy="GET /api/v1/recordings tells what was saved; recovery tries again at the next start",
            )
        return await self._run(lambda: self._open_finished(segment))

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def _open_finished(self, segment: SegmentFacts) -> Download:
        fd, status = self._open_inside(Path(segment.path))
        return Download(
            segment=segment,
            media_type=media_type(segment),
            size_bytes=status.st_size,
            content=Content(fd, status.st_size, self._pool),
            etag=f'"{segment.id}-{status.st_size:x}-{status.st_mtime_ns:x}"',
            modified_ns=status.st_mtime_ns,
        )

    async def _open_growing(self, segment: SegmentFacts) -> Download:
        file = self._growing.growing_file(segment.id)
        if file is None:
            raise NotYetPlayable(
                f"recording {segment.file_name!r} has nothing to play yet",
                remedy="try again in a second",
            )
        content = await self._run(lambda: self._open_view(file))
        return Download(segment, media_type(segment), content.size_bytes, content)

    def _open_view(self, file: GrowingFile) -> Content:
        epoch = file.epoch
        view = file.view()
        fd, _ = open_regular(view.path)
        return GrowingContent(fd, self._pool, file, epoch, view)

    def _open_inside(self, path: Path) -> tuple[int, os.stat_result]:
        """Open a file whose real place is below a record folder; any other is treated as not there."""
        real = path.resolve(strict=True)
        if not any(real.is_relative_to(root) for root in self._roots):
            raise not_found(path.name)
        return open_regular(real)


def open_regular(path: Path) -> tuple[int, os.stat_result]:
    """Open a regular file that is no symbolic link. Raises `NotFound` for anything else, OSError."""
    try:
        # A pipe or a device must not make us wait.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise not_found(path.name) from None
        raise
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        raise not_found(path.name)
    return fd, status


def check_name(name: str) -> None:
    """Refuse what no catalogue name can be, before anything is looked up. Raises `NotFound`.

    The name comes decoded: `%2e%2e%2f` has become `../` by now.
    """
    parts = name.split("/")
    if "\0" in name or "\\" in name or any(part in ("", ".", "..") for part in parts):
        raise not_found(name)


def not_found(name: str) -> NotFound:
    return NotFound(
        f"there is no recorded file {name!r}",
        remedy="GET /api/v1/recordings lists recordings with the links of their files",
    )


def media_type(segment: SegmentFacts) -> str:
    """The Content-Type of a segment; audio/… where its container has such a type and there is no video."""
    subtype = _MEDIA_TYPES.get(segment.container)
    if subtype is None:
        return "application/octet-stream"
    kinds = {track.kind for track in segment.tracks}
    is_audio_only = "audio" in kinds and "video" not in kinds
    return f"{'audio' if is_audio_only and segment.container in _AUDIO_HAS_OWN_TYPE else 'video'}/{subtype}"
