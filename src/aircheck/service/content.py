"""The bytes of an open file, read and sent in threads so that a slow disk never holds up the loop."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from aircheck.containers.recover import media_offset
from aircheck.errors import AircheckError

_COPY_BYTES = 256 * 1024
_SAMPLE_BYTES = 2 << 20


class FileShrank(AircheckError):
    """A file ended before the size that was promised to the client."""


class FileMoved(FileShrank):
    """The bytes of a file lie elsewhere in it than when the client began."""


class Content:
    """The bytes of one representation, read from an open file in the pool.

    `close` never takes the descriptor from under a read that is still running.
    """

    def __init__(self, fd: int, size_bytes: int, pool: ThreadPoolExecutor) -> None:
        self.size_bytes = size_bytes
        self._fd = fd
        self._pool = pool
        self._pending: Future[Any] | None = None

    async def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes at `offset` of the representation. Raises OSError, `FileShrank`."""
        wanted = min(size, self.size_bytes - offset)
        pending = self._pending = self._pool.submit(self._read, offset, wanted)
        data: bytes = await asyncio.wrap_future(pending)
        if not data and wanted > 0:
            raise self._shrank(offset)
        return data

    def is_at_hand(self, offset: int, size: int) -> bool:
        """Whether `send` would not have to wait for the disk, as far as samples tell."""
        samples = (*range(offset, offset + size, _SAMPLE_BYTES), offset + size - 1)
        return all(map(self._is_cached, samples))

    def _is_cached(self, offset: int) -> bool:
        try:
            return os.preadv(self._fd, [bytearray(1)], offset, os.RWF_NOWAIT) > 0
        except OSError:
            # Not in memory, or a file system that cannot tell.
            return False

    def send(self, sock: int, offset: int, size: int) -> int:
        """Send up to `size` bytes from `offset` on to a socket that does not block: how many it took.

        In a thread. Raises BlockingIOError, OSError, `FileShrank`.
        """
        return self._send_file(sock, offset, size)

    def lend(self, until: Future[Any]) -> None:
        """Somebody uses the file in a thread: it stays open at least until that is over."""
        self._pending = until

    def _send_file(self, sock: int, offset: int, size: int) -> int:
        """The kernel copies nothing: page cache and socket share the memory."""
        sent = os.sendfile(sock, self._fd, offset, size)
        if not sent:
            raise self._shrank(offset)
        return sent

    def _send_copy(self, sock: int, offset: int, size: int) -> int:
        """A piece after the other, until all is sent or the socket is full."""
        data = self._read(offset, min(size, _COPY_BYTES))
        if not data:
            raise self._shrank(offset)
        sent = os.write(sock, data)
        if sent < len(data) or sent == size:
            return sent
        try:
            return sent + self._send_copy(sock, offset + sent, size - sent)
        except (BlockingIOError, FileShrank):
            return sent

    def _shrank(self, offset: int) -> FileShrank:
        return FileShrank(
            f"the file ends at {offset} instead of its promised size of {self.size_bytes} bytes",
            remedy="something outside truncated the file; `aircheck check` compares files and catalogue",
        )

    def close(self) -> None:
        """Let the file go, at once or when the read in progress returns."""
        if self._pending is None:
            os.close(self._fd)
        else:
            self._pending.add_done_callback(lambda _: os.close(self._fd))

    def _read(self, offset: int, size: int) -> bytes:
        return os.pread(self._fd, size, offset)


_LAST_BYTES = 64


class FinishedContent(Content):
    """The bytes of a finished file, which may go on while it is read.

    That writes to the file's head, and moves media only where more room is made for the index: its last bytes
    tell. What lies in a socket that the kernel sends from would change with the file, so the head is copied,
    and all that is sent once the file has grown.
    """

    def __init__(self, fd: int, size_bytes: int, pool: ThreadPoolExecutor) -> None:
        """Reads from the file."""
        super().__init__(fd, size_bytes, pool)
        self._last = self._last_bytes()
        self._has_grown = False
        self._media_offset: int | None = None

    def send(self, sock: int, offset: int, size: int) -> int:
        """See `Content`."""
        if self._media_offset is None:
            self._media_offset = media_offset(self._fd)
            self._check_place()
        if offset < self._media_offset:
            return self._send_copy(sock, offset, min(size, self._media_offset - offset))
        if self._has_grown:
            return self._send_copy(sock, offset, size)
        sent = self._send_file(sock, offset, size)
        self._check_place()
        return sent

    def _last_bytes(self) -> bytes:
        return os.pread(self._fd, _LAST_BYTES, max(0, self.size_bytes - _LAST_BYTES))

    def _read(self, offset: int, size: int) -> bytes:
        data = super()._read(offset, size)
        self._check_place()
        return data

    def _check_place(self) -> None:
        self._has_grown = os.fstat(self._fd).st_size > self.size_bytes
        if self._has_grown and self._last_bytes() != self._last:
            raise FileMoved(
                "the file was continued meanwhile, and its bytes were moved to make room for its index",
                remedy="ask for it again",
            )
