"""The bytes of an open file, read in threads so that a slow disk never holds up the loop."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import Future, ThreadPoolExecutor

from aircheck.errors import AircheckError


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


_LAST_BYTES = 64


class FinishedContent(Content):
    """The bytes of a finished file, which may go on while it is read.

    That moves nothing but where more room is made for its index: its last bytes tell.
    """

    def __init__(self, fd: int, size_bytes: int, pool: ThreadPoolExecutor) -> None:
        """Reads from the file."""
        super().__init__(fd, size_bytes, pool)
        self._last = self._last_bytes()

    def _last_bytes(self) -> bytes:
        return os.pread(self._fd, _LAST_BYTES, max(0, self.size_bytes - _LAST_BYTES))

    def _read(self, offset: int, size: int) -> bytes:
        data = super()._read(offset, size)
        if os.fstat(self._fd).st_size > self.size_bytes and self._last_bytes() != self._last:
            raise FileMoved(
                "the file was continued meanwhile, and its bytes were moved to make room for its index",
                remedy="ask for it again",
            )
        return data
