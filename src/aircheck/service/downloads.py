"""Downloads: from the name of a recorded file to its bytes, finished or still growing.

Theory of operation
    A name is looked up in the catalogue, never on the disk: what is not catalogued (growing temporaries, the
    database, somebody else's files) has no name here. What the catalogue points at must be a regular file
    below one of the record folders after every symbolic link has been followed.

    A growing file is served as a view (`growing.py`). The descriptor stays open while the download runs, so
    neither the rename to the final name nor a deletion disturbs it.

    The disk is only touched in a few threads of our own. What is not sent by `file_sender.py` is read, and a
    download holds one chunk at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import stat
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TypeVar

from aircheck.catalog import Catalog
from aircheck.clock import Clock
from aircheck.facts import SegmentFacts, SegmentState
from aircheck.service.content import Content, FinishedContent
from aircheck.service.errors import NotFound, NotYetPlayable
from aircheck.service.file_sender import FileSender, Transfer
from aircheck.service.growing import GrowingContent, GrowingFiles, Reader, TimedView, Views

T = TypeVar("T")

BY_ID = ".id/"

READER_THREADS = 4
"""Enough to keep a disk busy; more would only fight for the interpreter."""

RETRY_DELAYS_S = (0.02, 0.1, 0.3, 0.6)
"""A file that is becoming final has for a moment neither a view nor its last name; a new one has no media."""

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


@dataclass(frozen=True, slots=True)
class Download:
    """One representation of a recorded file. The holder closes `content`.

    `etag` and `modified_ns` are None while the file grows: the next request will see another representation.
    """

    segment: SegmentFacts
    media_type: str
    content: Content
    etag: str | None = None
    modified_ns: int | None = None

    @property
    def size_bytes(self) -> int:
        return self.content.size_bytes

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
    sent_bytes: int = 0
    transfers: set[Transfer] = field(default_factory=set)
    """Those under way, whose bytes are not in `sent_bytes` yet."""

    @property
    def size_bytes(self) -> int:
        """All that was sent so far."""
        return self.sent_bytes + sum(transfer.sent_bytes for transfer in self.transfers)


class DownloadService:
    """Opens recorded files by catalogue name. `roots` are the only folders that files may come from."""

    def __init__(
        self,
        catalog: Catalog,
        growing: GrowingFiles,
        roots: Sequence[Path],
        clock: Clock,
        *,
        as_attachment: bool = False,
        elsewhere: Callable[[str], Awaitable[Download | None]] | None = None,
    ) -> None:
        """`elsewhere` may have files under names that the catalogue does not know."""
        self.counters = DownloadCounters()
        self.sender = FileSender()
        self._elsewhere = elsewhere
        self.as_attachment = as_attachment
        self._catalog = catalog
        self._growing = growing
        self._roots = tuple(root.resolve() for root in roots)
        self._clock = clock
        self._views = Views(clock)
        self._pool = ThreadPoolExecutor(READER_THREADS, thread_name_prefix="file-reader")

    async def open(self, name: str, reader: Reader | None = None) -> Download:
        """Open the file of that catalogue name. Raises `NotFound`, `NotYetPlayable`, OSError."""
        check_name(name)
        reader = reader or Reader()
        for delay_s in RETRY_DELAYS_S:
            with contextlib.suppress(FileNotFoundError, NotYetPlayable):
                return await self._open(name, reader)
            await asyncio.sleep(delay_s)
        try:
            return await self._open(name, reader)
        except FileNotFoundError:
            raise gone(name) from None

    async def stop(self) -> None:
        await self.sender.stop()
        await asyncio.to_thread(self._pool.shutdown)

    async def _open(self, name: str, reader: Reader) -> Download:
        segment = await self._find(name)
        if segment is None:
            found = await self._elsewhere(name) if self._elsewhere is not None else None
            if found is None:
                raise not_found(name)
            return found
        if segment.state in (SegmentState.GROWING, SegmentState.FINALIZING):
            return await self._open_growing(segment, reader)
        if segment.state is SegmentState.FAILED:
            raise NotFound(
                f"the recording {name!r} failed: {segment.error or 'its file could not be finished'}",
                remedy="GET /api/v1/recordings tells what was saved; recovery tries again at the next start",
            )
        return await self._run(lambda: self._open_finished(segment))

    async def _find(self, name: str) -> SegmentFacts | None:
        growing = self._growing.growing_segments
        if name.startswith(BY_ID):
            segment_id = PurePosixPath(name.removeprefix(BY_ID)).stem
            found = await self._catalog.segment(segment_id)
            return found or next((one for one in growing() if one.id == segment_id), None)
        found = await self._catalog.segment_by_file_name(name)
        return found or next((one for one in growing() if one.file_name == name), None)

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def _open_finished(self, segment: SegmentFacts) -> Download:
        fd, status = self._open_inside(Path(segment.path))
        return Download(
            segment=segment,
            media_type=media_type(segment),
            content=FinishedContent(fd, status.st_size, self._pool),
            etag=f'"{segment.id}-{status.st_size:x}-{status.st_mtime_ns:x}"',
            modified_ns=status.st_mtime_ns,
        )

    async def _open_growing(self, segment: SegmentFacts, reader: Reader) -> Download:
        growing = self._growing.growing_file(segment.id)
        if growing is None:
            raise NotYetPlayable(
                f"recording {segment.file_name!r} has nothing to play yet",
                remedy="try again in a second",
            )
        view = self._views.find(segment.id, reader)
        if view is None:
            now_s = self._clock.monotonic_s()
            view = await self._run(lambda: TimedView.make(growing, now_s))
        self._views.hold(segment.id, reader, view)
        fd, _ = await self._run(lambda: open_regular(view.file.path))
        return Download(segment, media_type(segment), GrowingContent(fd, self._pool, growing, view))

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


def stable_name(segment: SegmentFacts) -> str:
    """A name under which a segment is found from its first second on and for ever.

    Names of files are only settled when files are final; those of people never begin with a dot.
    """
    return f"{BY_ID}{segment.id}.{segment.container}"


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


def gone(name: str) -> NotFound:
    return NotFound(
        f"the file of recording {name!r} is gone from the disk",
        remedy="it was deleted or moved outside of Aircheck; restore it, or delete the recording",
    )


def media_type(segment: SegmentFacts) -> str:
    """The Content-Type of a segment; audio/… where its container has such a type and there is no video."""
    subtype = _MEDIA_TYPES.get(segment.container)
    if subtype is None:
        return "application/octet-stream"
    kinds = {track.kind for track in segment.tracks}
    is_audio_only = "audio" in kinds and "video" not in kinds
    return f"{'audio' if is_audio_only and segment.container in _AUDIO_HAS_OWN_TYPE else 'video'}/{subtype}"
