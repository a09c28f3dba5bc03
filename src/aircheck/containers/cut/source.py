"""What is cut from: files, finished or growing, and where they lie on a recording's timeline."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

from aircheck.errors import ContainerError

Progress = Callable[[int, int], None]
"""Called now and then with what is done and what there is to do, 0 when that is not known."""


class View(Protocol):
    """A growing file as the final one that it would be now: `header`, then `path` from byte `start` on."""

    @property
    def header(self) -> bytes: ...
    @property
    def path(self) -> Path: ...
    @property
    def start(self) -> int: ...
    @property
    def size_bytes(self) -> int: ...


class NothingThere(ContainerError):
    """The range that is asked for lies outside of what there is."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file. `begin_ms` and `end_ms` are about where it lies on the stream's own timeline, if that is known:
    what is certainly outside of a range is not even opened.

    `view` is given for a file that still grows.
    """

    path: Path
    begin_ms: int | None = None
    end_ms: int | None = None
    view: Callable[[], View] | None = None


@dataclass(frozen=True, slots=True)
class Range:
    """[start_s, end_s) of what the sources show together, whose first one begins at 0; None: all from the
    beginning, all to the end."""

    start_s: Fraction | None = None
    end_s: Fraction | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """The file that was made."""

    size_bytes: int
    duration_ms: int


class ViewFile(io.RawIOBase):
    """A growing file as a file for reading: the header of its view, then its own bytes."""

    def __init__(self, view: View) -> None:
        super().__init__()
        self._view = view
        self._fd = os.open(view.path, os.O_RDONLY | os.O_CLOEXEC)
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._view.size_bytes}[whence]
        self._place = max(0, base + offset)
        return self._place

    def read(self, size: int = -1) -> bytes:
        rest = max(0, self._view.size_bytes - self._place)
        size = rest if size < 0 else min(size, rest)
        header = self._view.header
        if self._place < len(header):
            data = header[self._place : self._place + size]
        else:
            data = os.pread(self._fd, size, self._place - len(header) + self._view.start)
        self._place += len(data)
        return data

    def close(self) -> None:
        if not self.closed:
            os.close(self._fd)
        super().close()
