"""The bytes of an open file, read in threads so that a slow disk never holds up the loop."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import Future, ThreadPoolExecutor

from aircheck.errors import AircheckError


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
