"""The few system calls that the MP4 writer lives on, each complete or an OSError."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from collections.abc import Sequence
from pathlib import Path

from aircheck.media.packet import Payload

BLOCK = 4096
"""Alignment of everything that may be shifted or cloned: the block size of common file systems."""

_KEEP_SIZE = 0x01
_COLLAPSE_RANGE = 0x08
_INSERT_RANGE = 0x20
_FICLONERANGE = 0x4020940D
_MAX_BUFFERS = 1024
_COPY_CHUNK = 1 << 30
_READ_CHUNK = 1 << 20

UNSUPPORTED = frozenset(
    (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENOTTY, errno.EXDEV, errno.EPERM, errno.EISDIR)
)
"""What file systems answer when they cannot do a thing at all."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def _fallocate(fd: int, mode: int, offset: int, size: int) -> None:
    while _libc.fallocate(fd, mode, offset, size) != 0:
        number = ctypes.get_errno()
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))


class Disk:
    """One open file. Every method raises OSError, and nothing else, when the disk says no."""

    __slots__ = ("_can_allocate", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._can_allocate = True

    @classmethod
    def create(cls, path: Path) -> Disk:
        """A new file; FileExistsError when the name is taken."""
        return cls(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))

    @classmethod
    def open(cls, path: Path, *, writable: bool = True) -> Disk:
        return cls(os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC))

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    @property
    def size_bytes(self) -> int:
        return os.fstat(self.fd).st_size

    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes; fewer only at the end of the file."""
        parts: list[bytes] = []
        while size > 0 and (part := os.pread(self.fd, size, offset)):
            parts.append(part)
            offset += len(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write(self, data: Payload, offset: int) -> None:
        view = memoryview(data)
        while view:
            # A short write comes before ENOSPC: the next one tells.
            written = os.pwrite(self.fd, view, offset)
            view = view[written:]
            offset += written

    def write_all(self, buffers: Sequence[Payload], offset: int) -> None:
        """The buffers one behind the other: one pwritev for up to 1,024 of them, without copying."""
        if len(buffers) > _MAX_BUFFERS:
            for start in range(0, len(buffers), _MAX_BUFFERS):
                part = buffers[start : start + _MAX_BUFFERS]
                self.write_all(part, offset)
                offset += sum(map(len, part))
            return
        written = os.pwritev(self.fd, buffers, offset)
        if written != sum(map(len, buffers)):
            self.write(memoryview(b"".join(buffers))[written:], offset + written)

    def truncate(self, size: int) -> None:
        os.ftruncate(self.fd, size)

    def allocate(self, offset: int, size: int, *, keep_size: bool = False) -> bool:
        """Give the range real blocks. False where the file system has no such thing; ENOSPC is an OSError."""
        if not self._can_allocate:
            return False
        try:
            _fallocate(self.fd, _KEEP_SIZE if keep_size else 0, offset, size)
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
            self._can_allocate = False
        return self._can_allocate

    def insert(self, offset: int, size: int) -> None:
        """Shift everything from `offset` on by `size` bytes; atomic. The new range is a hole."""
        _fallocate(self.fd, _INSERT_RANGE, offset, size)

    def collapse(self, offset: int, size: int) -> None:
        """Undo `insert`."""
        _fallocate(self.fd, _COLLAPSE_RANGE, offset, size)

    def clone_from(self, source: Disk, source_offset: int, offset: int) -> None:
        """Share the rest of `source`'s blocks (reflink)."""
        fcntl.ioctl(self.fd, _FICLONERANGE, struct.pack("qQQQ", source.fd, source_offset, 0, offset))

    def copy_from(self, source: Disk, source_offset: int, offset: int, end: int) -> None:
        """Copy source[source_offset:end], inside the kernel where it can."""
        while source_offset < end:
            copied = self._copy_part(source, source_offset, offset, min(_COPY_CHUNK, end - source_offset))
            if copied == 0:
                raise OSError(errno.EIO, "the file ended while it was copied")
            source_offset += copied
            offset += copied

    def _copy_part(self, source: Disk, source_offset: int, offset: int, size: int) -> int:
        try:
            return os.copy_file_range(source.fd, self.fd, size, source_offset, offset)
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
        data = source.read(source_offset, min(size, _READ_CHUNK))
        self.write(data, offset)
        return len(data)

    def drop_cache(self, offset: int = 0, size: int = 0) -> None:
        """Tell the kernel that nobody will read this soon (size 0: to the end); dirty pages stay.

        INSERT_RANGE is faster without cached pages, and dropping them costs 0.1 s per GB.
        """
        os.posix_fadvise(self.fd, offset, size, os.POSIX_FADV_DONTNEED)

    def expect_random_reads(self) -> None:
        os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_RANDOM)

    def sync(self) -> None:
        os.fdatasync(self.fd)


def sync_directory(path: Path) -> None:
    """Make a rename or a new name in this directory survive a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
